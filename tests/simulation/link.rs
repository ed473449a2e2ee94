//! The network of the simulation: a connection between two ends, in memory and in virtual time.
//!
//! ```text
//!   write ─► | in flight: parcels, each with its time | ─► | arrived | ─► read
//!        ◄────────────── room that reads made, told a latency later ──────┘
//! ```
//! What a socket tells its owner by an edge, a step of the link returns as [`Edges`].

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use crate::random::Random;
use crate::script::Draw;

/// An end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Server,
    Client,
}

/// How a connection carries bytes.
#[derive(Clone, Debug)]
pub struct Carriage {
    /// What the kernels hold of what the client wrote and the server has not read, in bytes.
    pub up_bytes: usize,
    /// As `up_bytes`, the other way.
    pub down_bytes: usize,
    /// From a write to the earliest read of it.
    pub latency: Duration,
    /// What chance adds to it.
    pub jitter: Duration,
}

/// What one end is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    pub readable: bool,
    pub writable: bool,
    pub read_closed: bool,
}

impl Edges {
    const ERROR: Self = Self {
        readable: true,
        writable: true,
        read_closed: true,
    };

    pub fn insert(&mut self, other: Self) {
        self.readable |= other.readable;
        self.writable |= other.writable;
        self.read_closed |= other.read_closed;
    }

    pub fn any(self) -> bool {
        self != Self::default()
    }
}

#[derive(Debug)]
enum Parcel {
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    capacity: usize,
    /// Bytes written whose room is not known to be free again.
    held: usize,
    flight: VecDeque<(Duration, Parcel)>,
    arrived: VecDeque<u8>,
    freed: VecDeque<(Duration, usize)>,
    /// The sender was refused room, and waits to be told of some.
    refused: bool,
    shut: bool,
    fin_arrived: bool,
    receiver_closed: bool,
    /// Nothing put in arrives any more.
    lost: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            held: 0,
            flight: VecDeque::new(),
            arrived: VecDeque::new(),
            freed: VecDeque::new(),
            refused: false,
            shut: false,
            fin_arrived: false,
            receiver_closed: false,
            lost: false,
        }
    }

    fn put(&mut self, at: Duration, parcel: Parcel) {
        if !self.lost {
            // What was written first arrives first.
            let last = self.flight.back().map_or(Duration::ZERO, |(at, _)| *at);
            self.flight.push_back((at.max(last), parcel));
        }
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.held)
    }

    fn next(&self) -> Option<Duration> {
        let parcel = self.flight.front().map(|(at, _)| *at);
        let freed = self.freed.front().map(|(at, _)| *at);
        parcel.into_iter().chain(freed).min()
    }
}

/// See the module.
pub struct Link {
    carriage: Carriage,
    up: Pipe,
    down: Pipe,
    server_broken: bool,
    client_broken: bool,
    random: Random,
}

impl Link {
    pub fn new(carriage: Carriage, random: Random) -> Self {
        Self {
            up: Pipe::new(carriage.up_bytes),
            down: Pipe::new(carriage.down_bytes),
            carriage,
            server_broken: false,
            client_broken: false,
            random,
        }
    }

    fn incoming(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Server => &mut self.up,
            Side::Client => &mut self.down,
        }
    }

    fn outgoing(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Server => &mut self.down,
            Side::Client => &mut self.up,
        }
    }

    /// Whether an error of the connection has reached this end.
    pub fn is_broken(&self, side: Side) -> bool {
        match side {
            Side::Server => self.server_broken,
            Side::Client => self.client_broken,
        }
    }

    /// Bytes that have arrived at this end and have not been read.
    pub fn unread(&self, side: Side) -> usize {
        match side {
            Side::Server => self.up.arrived.len(),
            Side::Client => self.down.arrived.len(),
        }
    }

    /// Whether a read would find bytes or an error.
    pub fn has_unread(&self, side: Side) -> bool {
        self.unread(side) > 0 || self.is_broken(side)
    }

    /// Whether a write would be taken, or find an error.
    pub fn is_writable(&self, side: Side) -> bool {
        let pipe = match side {
            Side::Server => &self.down,
            Side::Client => &self.up,
        };
        pipe.room() > 0 || self.is_broken(side)
    }

    /// Whether the peer's FIN has arrived at this end.
    pub fn fin_arrived(&self, side: Side) -> bool {
        match side {
            Side::Server => self.up.fin_arrived,
            Side::Client => self.down.fin_arrived,
        }
    }

    pub fn read(&mut self, side: Side, space: &mut [u8], now: Duration) -> io::Result<usize> {
        if self.is_broken(side) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let at = self.arrival(now);
        let pipe = self.incoming(side);
        let n = space.len().min(pipe.arrived.len());
        if n == 0 && !space.is_empty() {
            return match pipe.fin_arrived {
                true => Ok(0),
                false => Err(ErrorKind::WouldBlock.into()),
            };
        }
        for (byte, arrived) in space.iter_mut().zip(pipe.arrived.drain(..n)) {
            *byte = arrived;
        }
        if pipe.lost {
            return Ok(n);
        }
        let at = at.max(pipe.freed.back().map_or(Duration::ZERO, |(at, _)| *at));
        pipe.freed.push_back((at, n));
        Ok(n)
    }

    /// Takes what there is room for, and sends it in parcels of chance.
    pub fn write(
        &mut self,
        side: Side,
        slices: &[IoSlice<'_>],
        now: Duration,
    ) -> io::Result<usize> {
        if self.is_broken(side) || self.outgoing(side).shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = self.outgoing(side).room();
        let mut taken = Vec::new();
        for slice in slices {
            let part = slice.len().min(room - taken.len());
            taken.extend_from_slice(&slice[..part]);
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let n = taken.len();
        let pipe = self.outgoing(side);
        pipe.held += n;
        pipe.refused |= n < offered;
        if n == 0 && offered > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut parcels = 3;
        while !taken.is_empty() {
            let len = match parcels {
                0 => taken.len(),
                _ => self.random.up_to(taken.len()),
            };
            parcels = usize::saturating_sub(parcels, 1);
            let rest = taken.split_off(len);
            let at = self.arrival(now);
            self.outgoing(side).put(at, Parcel::Bytes(taken));
            taken = rest;
        }
        Ok(n)
    }

    fn arrival(&mut self, now: Duration) -> Duration {
        let jitter = self
            .random
            .below(self.carriage.jitter.as_micros() as usize + 1);
        now + self.carriage.latency + Duration::from_micros(jitter as u64)
    }

    pub fn shutdown_write(&mut self, side: Side, now: Duration) -> io::Result<()> {
        if self.is_broken(side) {
            return Err(ErrorKind::NotConnected.into());
        }
        let at = self.arrival(now);
        let pipe = self.outgoing(side);
        if !std::mem::replace(&mut pipe.shut, true) {
            pipe.put(at, Parcel::Fin);
        }
        Ok(())
    }

    /// Closes one end: with a reset where it is `hard` or something unread is left, as kernels do.
    pub fn close(&mut self, side: Side, hard: bool, now: Duration) {
        if self.is_broken(side) {
            return;
        }
        let at = self.arrival(now);
        let unread = !self.incoming(side).arrived.is_empty();
        self.incoming(side).receiver_closed = true;
        if hard || unread {
            let pipe = self.outgoing(side);
            pipe.flight.clear();
            pipe.put(at, Parcel::Reset);
            pipe.shut = true;
        } else {
            // An end that is not broken can be shut.
            let _ = self.shutdown_write(side, now);
        }
    }

    /// Somebody on the way resets the connection: both ends are told now.
    pub fn cut(&mut self, now: Duration) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.flight.clear();
            pipe.put(now, Parcel::Reset);
        }
    }

    /// From now on, what goes up or down is lost, and nobody is told.
    pub fn lose(&mut self, up: bool, down: bool) {
        for (pipe, lost) in [(&mut self.up, up), (&mut self.down, down)] {
            if lost {
                pipe.lost = true;
                pipe.flight.clear();
                pipe.freed.clear();
            }
        }
    }

    pub fn is_lossy(&self) -> bool {
        self.up.lost || self.down.lost
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<Duration> {
        self.up.next().into_iter().chain(self.down.next()).min()
    }

    /// Lets arrive what is due; what the server and what the client is told.
    pub fn step(&mut self, now: Duration) -> (Edges, Edges) {
        let (mut server, mut client) = (Edges::default(), Edges::default());
        self.arrive(Side::Server, now, &mut server);
        self.arrive(Side::Client, now, &mut client);
        free(&mut self.up, now, &mut client);
        free(&mut self.down, now, &mut server);
        (server, client)
    }

    fn arrive(&mut self, side: Side, now: Duration, edges: &mut Edges) {
        while let Some((_, parcel)) = self
            .incoming(side)
            .flight
            .pop_front_if(|(at, _)| *at <= now)
        {
            let pipe = self.incoming(side);
            match parcel {
                _ if pipe.receiver_closed => {
                    if let Parcel::Bytes(_) = parcel {
                        let at = self.arrival(now);
                        self.outgoing(side).put(at, Parcel::Reset);
                    }
                }
                Parcel::Bytes(bytes) => {
                    pipe.arrived.extend(&bytes);
                    edges.readable = true;
                }
                Parcel::Fin => {
                    pipe.fin_arrived = true;
                    (edges.readable, edges.read_closed) = (true, true);
                }
                Parcel::Reset => {
                    pipe.arrived.clear();
                    match side {
                        Side::Server => self.server_broken = true,
                        Side::Client => self.client_broken = true,
                    }
                    edges.insert(Edges::ERROR);
                }
            }
        }
    }
}

fn free(pipe: &mut Pipe, now: Duration, edges: &mut Edges) {
    while let Some((_, n)) = pipe.freed.pop_front_if(|(at, _)| *at <= now) {
        pipe.held -= n;
        if std::mem::take(&mut pipe.refused) {
            edges.writable = true;
        }
    }
}
