//! What one seed draws: the settings of both ends, what is asked, what the network is like, and
//! how it is to end.

use std::time::Duration;

use gateloop::limits::{LONG_MESSAGE_BYTES, Limits};
use gateloop::protocol::handshake::challenge::{self, Proof};
use gateloop::protocol::handshake::mutual;
use gateloop::protocol::{Digest, Digests, FramingKind, HandshakeRules, Key};

use crate::link::Carriage;
use crate::random::Random;
use crate::services::{self, Kind, Request};

/// More words for [`Random`].
pub trait Draw {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize;
    /// Whether something happens that does so in `percent` of all cases.
    fn chance(&mut self, percent: usize) -> bool;
    fn pick<T: Copy>(&mut self, from: &[T]) -> T;
    /// A number from 0 to `max`; each order of magnitude is as likely as any other.
    fn size(&mut self, max: usize) -> usize;
    fn millis(&mut self, max: usize) -> Duration;
    /// Some are longer than impatient time-outs.
    fn nap(&mut self) -> Duration {
        let max = self.pick(&[200, 10_000]);
        self.millis(max)
    }
}

impl Draw for Random {
    fn below(&mut self, end: usize) -> usize {
        self.up_to(end) - 1
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn size(&mut self, max: usize) -> usize {
        let bits = (max + 1).ilog2() as usize + 1;
        (self.magnitude(bits) - 1).min(max)
    }

    fn millis(&mut self, max: usize) -> Duration {
        Duration::from_millis(self.below(max + 1) as u64)
    }
}

/// How it is to end. Numbers of bytes count from the connection's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The client shuts down its sending half: behind its last request, or after the last answer.
    Polite { early: bool },
    /// The client holds another key, and perhaps says no more than its proof.
    WrongKey { early: bool },
    /// The digests of both sides do not go together.
    OtherDigests,
    /// The client's sending half is shut down after so many bytes.
    Short { bytes: usize },
    /// The client sends so many bytes and then no more.
    Mute { bytes: usize },
    /// A request is over the limit.
    TooLong,
    /// A request has the service end the conversation, one way or another.
    Command(Command),
    /// When so many bytes have been moved either way, something befalls the connection.
    Event { bytes: usize, event: Event },
}

impl Plan {
    /// Whether the server hears nothing more at some time, and is not told.
    fn is_silence(self) -> bool {
        let lost = |event| matches!(event, Event::Lost { .. });
        matches!(self, Self::Mute { .. })
            || matches!(self, Self::Event { event, .. } if lost(event))
    }

    /// The request that ends it, if one does.
    fn request(self, framing: FramingKind, limits: &Limits) -> Option<Request> {
        let bytes = match self {
            Self::TooLong => services::text(framing, limits.message_bytes_max + 1, 0),
            Self::Command(command) if framing == FramingKind::Json => {
                format!("\"{}\"", command.word()).into()
            }
            Self::Command(command) => command.word().into(),
            _ => return None,
        };
        Some(Request::of(bytes))
    }

    /// Whether a request ends it.
    pub fn is_request(self) -> bool {
        matches!(self, Self::TooLong | Self::Command(_))
    }

    /// Whether the two ends cannot agree.
    pub fn is_keyless(self) -> bool {
        matches!(self, Self::WrongKey { .. } | Self::OtherDigests)
    }
}

/// See [`services::Watched`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Bye,
    Shut,
    Panic,
    Flood,
    ShortStream,
    LongStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody resets the connection.
    Cut,
    /// The client closes its socket, whatever is unread.
    ClientGone,
    /// What goes up, down or both ways is lost without a word.
    Lost { up: bool, down: bool },
    /// The server is told to stop.
    Stop,
    /// The server is told to stop at once.
    Abort,
    /// All buffers together hold too much.
    Memory,
    /// A stranger is to make room for another.
    Evict,
}

#[derive(Debug)]
pub struct Script {
    pub server_rules: HandshakeRules,
    pub client_rules: HandshakeRules,
    pub framing: FramingKind,
    pub kind: Kind,
    pub limits: Limits,
    /// Time-outs are so long that only who says nothing for ever runs into one.
    pub patient: bool,
    /// An end stops reading or writing at some time, which the other one is not told.
    pub silent: bool,
    pub carriage: Carriage,
    /// Places among the workers, and times at which other connections take them all.
    pub room: usize,
    pub crowds: Vec<(Duration, Duration)>,
    pub requests: Vec<Request>,
    /// The place of the one that is planned to end it, if one is.
    pub last: usize,
    /// Answers that the client lets stand out before it asks again.
    pub window: usize,
    /// Up to how long it thinks before a request.
    pub think: Duration,
    /// Bytes that it reads before it reads no more.
    pub appetite: usize,
    /// After how many bytes read it reads none for how long.
    pub naps: Vec<(usize, Duration)>,
    pub plan: Plan,
}

impl Script {
    pub fn draw(random: &mut Random) -> Self {
        let framing = random.pick(&[
            FramingKind::I32Be,
            FramingKind::I32Be,
            FramingKind::I32Le,
            FramingKind::Json,
            FramingKind::Json,
            FramingKind::Lines,
            FramingKind::Raw,
        ]);
        let kind = Kind::draw(framing, random);
        let limits = draw_marks(random);
        let sizes = random.pick(&[Sizes::Small, Sizes::Mixed, Sizes::Mixed, Sizes::Long]);
        let mut requests = kind.requests(framing, &limits, sizes, random);
        let asked: usize = requests.iter().map(|request| request.bytes.len()).sum();
        let answered: usize = requests.iter().map(Request::answer_bytes).sum();
        let plan = draw_plan(framing, kind, asked + answered + 400, random);
        let deaf = random.chance(15);
        let appetite = if deaf {
            random.below(answered + 400)
        } else {
            usize::MAX
        };
        let silent = deaf || plan.is_silence();
        let patient = random.chance(70);
        let volume = asked.max(answered);
        let mut limits = draw_bounds(limits, &requests, volume, patient, random);
        if silent {
            // Where nothing is owed, nothing else would end it.
            limits.idle_timeout = Some(2 * limits.arrival_timeout);
        }
        if kind == Kind::Rpc {
            // Batches that wait may have gathered no more than this together.
            limits.message_bytes_max = 2 * (asked + answered);
        }
        let last = random.up_to(requests.len());
        if let Some(request) = plan.request(framing, &limits) {
            // What comes behind it is not served.
            requests.insert(last, request);
        }
        let (server_rules, client_rules) = draw_rules(plan, random);
        Self {
            server_rules,
            client_rules,
            framing,
            kind,
            limits,
            patient,
            silent,
            carriage: draw_carriage(volume, random),
            room: random.pick(&[1, 2, 5, 1024]),
            crowds: (0..random.pick(&[0, 0, 3]))
                .map(|_| {
                    (
                        random.millis(300),
                        random.millis(50) + Duration::from_millis(1),
                    )
                })
                .collect(),
            requests,
            last,
            window: random.pick(&[1, 3, 1000, usize::MAX]),
            think: random.pick(&[0, 0, 1, 20]) * Duration::from_millis(1),
            appetite,
            naps: (0..random.pick(&[0, 1, 4]))
                .map(|_| (random.below(answered + 1), random.nap()))
                .collect(),
            plan,
        }
    }

    /// Bytes that a message takes on the wire beside its payload.
    pub fn frame_bytes(&self) -> usize {
        match self.framing {
            FramingKind::I32Be | FramingKind::I32Le => 4,
            FramingKind::Lines => 1,
            FramingKind::Json | FramingKind::Raw => 0,
        }
    }

    /// What the first `count` requests take on the wire, in bytes.
    pub fn wire_bytes(&self, count: usize) -> usize {
        let payloads = self.requests[..count]
            .iter()
            .map(|request| request.bytes.len());
        payloads.sum::<usize>() + count * self.frame_bytes()
    }

    /// How many requests are whole in the first `bytes` of what the client sends as commands.
    pub fn whole_requests(&self, bytes: usize) -> usize {
        let mut left = bytes;
        self.requests
            .iter()
            .take_while(|request| {
                let wire = request.bytes.len() + self.frame_bytes();
                let whole = wire <= left;
                left = left.saturating_sub(wire);
                whole
            })
            .count()
    }
}

fn draw_plan(framing: FramingKind, kind: Kind, volume: usize, random: &mut Random) -> Plan {
    let bytes = random.below(volume);
    let early = random.chance(50);
    let commands: &[Command] = if kind.is_in_order() {
        &Command::ALL
    } else {
        // A message must not be begun while another answer may come in between.
        &[Command::Bye, Command::Shut, Command::Panic, Command::Flood]
    };
    let (up, down) = random.pick(&[(true, true), (true, false), (false, true)]);
    let events = [
        Event::Cut,
        Event::ClientGone,
        Event::Lost { up, down },
        Event::Stop,
        Event::Stop,
        Event::Abort,
        Event::Memory,
        Event::Evict,
    ];
    match random.below(20) {
        0 => Plan::WrongKey { early },
        1 => Plan::OtherDigests,
        2 => Plan::Short { bytes },
        3 => Plan::Short {
            bytes: bytes.min(random.up_to(400)),
        },
        4 => Plan::Mute { bytes },
        5 => Plan::Mute {
            bytes: bytes.min(random.up_to(400)),
        },
        // Where messages have no border, none is too long, and a word may come in pieces.
        7 | 8 if framing != FramingKind::Raw => Plan::TooLong,
        9..=11 if framing != FramingKind::Raw => Plan::Command(random.pick(commands)),
        12..=15 => {
            let event = random.pick(&events);
            // The handshake is over after a few hundred bytes.
            let most = match event {
                Event::Evict => random.up_to(150),
                _ => random.pick(&[400, 100_000, usize::MAX]),
            };
            let bytes = bytes.min(most);
            Plan::Event { bytes, event }
        }
        _ => Plan::Polite { early },
    }
}

/// Tiny marks half of the time.
fn draw_marks(random: &mut Random) -> Limits {
    let limits = Limits::default();
    if random.chance(50) {
        return limits;
    }
    let most = random.pick(&[10, 1000, 100_000]);
    let send_high_bytes = random.up_to(most);
    Limits {
        send_high_bytes,
        send_low_bytes: random.below(send_high_bytes),
        ..limits
    }
}

/// What the requests, and how much is said in all, leave to choose of the other limits.
fn draw_bounds(
    limits: Limits,
    requests: &[Request],
    volume: usize,
    patient: bool,
    random: &mut Random,
) -> Limits {
    let longest = requests.iter().map(|request| request.bytes.len()).max();
    // A word of command is always allowed, and so is one in quotation marks.
    let longest = longest.unwrap_or_default().max(10);
    let most = requests.iter().map(Request::answer_bytes).max();
    let seconds = |random: &mut Random| Duration::from_secs(random.up_to(5) as u64);
    let tiny = random.up_to(200);
    let mut limits = Limits {
        // The largest request is just allowed.
        message_bytes_max: longest,
        send_hard_bytes: limits.send_high_bytes + 64 * (most.unwrap_or_default() + 1000),
        turn_bytes: random
            .pick(&[tiny, 5_000, 256 * 1024])
            .max(volume / 1000 + 1),
        turn_messages: random.pick(&[1, 3, 1024]),
        ..limits
    };
    if patient {
        let long = Duration::from_secs(3600);
        limits.handshake_timeout = long;
        limits.arrival_timeout = long;
        limits.write_stall_timeout = long;
        limits.linger_timeout = long;
    } else {
        limits.handshake_timeout = seconds(random);
        limits.arrival_timeout = seconds(random);
        limits.write_stall_timeout = seconds(random);
        limits.linger_timeout = seconds(random);
        limits.idle_timeout = random.chance(30).then(|| seconds(random));
    }
    limits
}

fn draw_carriage(volume: usize, random: &mut Random) -> Carriage {
    // A thousand round trips are enough for anybody.
    let least = volume / 1000 + 1;
    let (slow, tiny) = (random.millis(20), random.up_to(100));
    let latency = random.pick(&[Duration::ZERO, Duration::from_micros(50), slow]);
    let sizes = [tiny, 4096, 256 * 1024];
    Carriage {
        up_bytes: random.pick(&sizes).max(least),
        down_bytes: random.pick(&sizes).max(least),
        latency,
        jitter: random.pick(&[Duration::ZERO, latency, 4 * latency]),
    }
}

/// The handshake of both ends: none where it does not matter, else one that they pass, or do not,
/// as planned.
fn draw_rules(plan: Plan, random: &mut Random) -> (HandshakeRules, HandshakeRules) {
    if !plan.is_keyless() && random.chance(40) {
        return (HandshakeRules::None, HandshakeRules::None);
    }
    let held = if matches!(plan, Plan::WrongKey { .. }) {
        "another key"
    } else {
        "the key"
    };
    let key = |key: &str| Key::new(key).expect("a key");
    // Both ends live in this process.
    let allow_own_challenges = true;
    if plan != Plan::OtherDigests && random.chance(40) {
        let proof = random.pick(&[Proof::Hmac, Proof::Md5]);
        let rules = |text: &str| {
            HandshakeRules::Challenge(challenge::Rules {
                allow_own_challenges,
                ..challenge::Rules::new(key(text), proof)
            })
        };
        return (rules("the key"), rules(held));
    }
    let (server, client) = loop {
        let (server, client) = (draw_digests(random), draw_digests(random));
        // A client answers in no digest but its own, and one that knows md5 alone asks for it.
        let understood = client.contains(server.strongest())
            && (client.strongest() != Digest::Md5 || server.contains(Digest::Md5));
        if understood != (plan == Plan::OtherDigests) {
            break (server, client);
        }
    };
    let rules = |text: &str, digests| {
        HandshakeRules::Mutual(mutual::Rules {
            digests,
            allow_own_challenges,
            ..mutual::Rules::new(key(text))
        })
    };
    (rules("the key", server), rules(held, client))
}

fn draw_digests(random: &mut Random) -> Digests {
    let first = Digests::from(random.pick(&Digest::ALL));
    let more = Digest::ALL.into_iter().filter(|_| random.chance(40));
    more.fold(first, Digests::with)
}

/// How long the messages of a script are.
#[derive(Clone, Copy, Debug)]
pub enum Sizes {
    Small,
    Mixed,
    Long,
}

impl Sizes {
    pub fn draw(self, random: &mut Random) -> usize {
        match (self, random.below(20)) {
            (_, 0) => 0,
            (Self::Small, _) => random.size(200),
            (Self::Mixed, 1) => random.below(400_000),
            (Self::Mixed, 2..=4) => random.size(100_000),
            (Self::Mixed, _) => random.size(2_000),
            (Self::Long, 1..=3) => LONG_MESSAGE_BYTES - 2 + random.below(4),
            (Self::Long, 4..=7) => random.size(2_000),
            (Self::Long, _) => random.below(200_000),
        }
    }
}
