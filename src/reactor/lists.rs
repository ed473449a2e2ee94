//! Doubly linked lists over slab slots: a slot is in one list at most, enters and leaves in
//! constant time, and nothing is allocated for it but its place.

const NIL: u32 = u32::MAX;

/// A number of lists that share their nodes.
#[derive(Debug)]
pub struct Lists {
    ends: Vec<Ends>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    list: u32,
    previous: u32,
    next: u32,
}

impl Lists {
    /// `lists` empty lists.
    #[must_use]
    pub fn new(lists: usize) -> Self {
        Self {
            ends: vec![
                Ends {
                    first: NIL,
                    last: NIL
                };
                lists
            ],
            nodes: Vec::new(),
        }
    }

    /// The list that the slot is in.
    #[must_use]
    #[inline]
    pub fn list_of(&self, slot: usize) -> Option<usize> {
        let list = self.nodes.get(slot)?.list;
        (list != NIL).then_some(list as usize)
    }

    /// The slot that has been in the list for longest.
    #[must_use]
    pub fn first(&self, list: usize) -> Option<usize> {
        let first = self.ends[list].first;
        (first != NIL).then_some(first as usize)
    }

    /// The slots of a list, from the one that has been in it for longest.
    pub fn iter(&self, list: usize) -> impl Iterator<Item = usize> {
        let some = |slot: u32| (slot != NIL).then_some(slot as usize);
        let first = some(self.ends[list].first);
        std::iter::successors(first, move |&slot| some(self.nodes[slot].next))
    }

    /// Appends a slot that is in no list.
    pub fn push(&mut self, list: usize, slot: usize) {
        debug_assert_eq!(self.list_of(slot), None);
        if self.nodes.len() <= slot {
            self.nodes.resize(
                slot + 1,
                Node {
                    list: NIL,
                    previous: NIL,
                    next: NIL,
                },
            );
        }
        let ends = &mut self.ends[list];
        let previous = std::mem::replace(&mut ends.last, slot as u32);
        if previous == NIL {
            ends.first = slot as u32;
        } else {
            self.nodes[previous as usize].next = slot as u32;
        }
        self.nodes[slot] = Node {
            list: list as u32,
            previous,
            next: NIL,
        };
    }

    /// Takes a slot out of its list, if it is in any.
    pub fn remove(&mut self, slot: usize) {
        let Some(list) = self.list_of(slot) else {
            return;
        };
        let node = self.nodes[slot];
        match node.previous {
            NIL => self.ends[list].first = node.next,
            previous => self.nodes[previous as usize].next = node.next,
        }
        match node.next {
            NIL => self.ends[list].last = node.previous,
            next => self.nodes[next as usize].previous = node.previous,
        }
        self.nodes[slot].list = NIL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lists: &mut Lists, list: usize) -> Vec<usize> {
        std::iter::from_fn(|| {
            let first = lists.first(list)?;
            lists.remove(first);
            Some(first)
        })
        .collect()
    }

    #[test]
    fn keep_their_order_whoever_leaves() {
        for leaver in [3, 0, 9, 5] {
            let mut lists = Lists::new(2);
            for slot in [3, 0, 5, 9] {
                lists.push(0, slot);
            }
            lists.push(1, 7);
            lists.remove(leaver);
            lists.remove(leaver);
            assert_eq!(lists.list_of(leaver), None);
            let left: Vec<usize> = [3, 0, 5, 9].into_iter().filter(|&s| s != leaver).collect();
            assert_eq!(drain(&mut lists, 0), left);
            assert_eq!(drain(&mut lists, 1), [7]);
        }
    }

    #[test]
    fn a_slot_can_come_back() {
        let mut lists = Lists::new(1);
        lists.push(0, 1);
        lists.push(0, 2);
        lists.remove(1);
        lists.push(0, 1);
        assert_eq!(drain(&mut lists, 0), [2, 1]);
    }
}
