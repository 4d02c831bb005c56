//! The trace file's format, version 1, for the recorder and for readers: a head of one page, then records of 64 bytes.
//! Numbers are little-endian, as on every machine this crate runs on. A record's last word is its number counted from 1,
//! written last: a record that was begun and not finished has another there. Plain values; packing is signal-safe.

use crate::access::AccessMode;

/// The first bytes of every trace.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"HMMTRACE");
/// What this crate writes, and the latest that it reads.
pub const VERSION: u32 = 1;
/// Bytes of the head.
pub(super) const HEAD: usize = 4096;
/// Bytes of a record.
pub(super) const RECORD: usize = 64;
/// 64-bit words of a record.
pub(super) const WORDS: usize = RECORD / 8;

/// Where the head's words are: their numbers.
pub(super) mod head {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// Version; in the upper half the bytes of the head.
    pub const VERSION: usize = 1;
    /// Bytes of a record; in the upper half the process's number.
    pub const RECORD: usize = 2;
    /// When it began, nanoseconds since 1970.
    pub const STARTED: usize = 3;
    /// Records that there may be.
    pub const CAPACITY: usize = 4;
    /// Records that were begun; may be more than there may be.
    pub const BEGUN: usize = 5;
    /// Events for which there was no room.
    pub const DROPPED: usize = 6;
    /// Bytes of records for which the disk has room.
    pub const READY: usize = 7;
    /// 1: the process has ended it.
    pub const CLOSED: usize = 8;
    /// Why the disk had no more room: the system's error number, or 0.
    pub const ERRNO: usize = 9;
    /// The version of the library, as text of [`TEXT`] words.
    pub const LIBRARY: usize = 16;
    /// The kind of device, likewise; empty until devices are opened.
    pub const BACKEND: usize = 20;
    /// The program's name, likewise.
    pub const PROGRAM: usize = 24;
    /// Words of a text.
    pub const TEXT: usize = 4;
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant = $code),+ }
        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// In words.
            pub const fn name(self) -> &'static str { match self { $($name::$variant => $text),+ } }
            fn of(code: u8) -> Option<$name> { match code { $($code => Some($name::$variant),)+ _ => None } }
        }
    };
}

codes! {
    /// Why memory was moved, or began or ceased to be managed.
    Why {
        /// Something else.
        Other = 0 "other",
        /// The CPU touched it.
        Fault = 1 "fault",
        /// A launch needs it.
        Launch = 2 "launch",
        /// `hmm_acquire`.
        Acquire = 3 "acquire",
        /// A prefetch.
        Prefetch = 4 "prefetch",
        /// `hmm_migrate`.
        Migrate = 5 "migrate",
        /// `hmm_host_ready`.
        HostReady = 6 "host_ready",
        /// A system call uses it.
        Call = 7 "system call",
        /// `hmm_pin`.
        Pin = 8 "pin",
        /// fork copies it for the child.
        Fork = 9 "fork",
        /// The process ends.
        Exit = 10 "exit",
        /// `hmm_shutdown`.
        Shutdown = 11 "shutdown",
        /// It ceases to be managed, or the program changes its mapping.
        Unmap = 12 "unmap",
        /// The device was full.
        Evict = 13 "evict",
        /// Its contents were given up.
        Discard = 14 "discard",
        /// It was moved to a block of another size.
        Resize = 15 "resize",
        /// The test aid `HMMRT_CHAOS`.
        Chaos = 16 "chaos",
        /// A block of the heap.
        Heap = 17 "heap",
        /// The program's own memory.
        Adopted = 18 "adopted",
        /// Ahead of a reader.
        Ahead = 19 "read ahead",
        /// What followed the launch the last times: home behind it, or to the device ahead of the next.
        Predicted = 20 "prediction",
        /// Behind a writer, for the launch that comes next.
        Behind = 21 "behind a writer",
    }
}

codes! {
    /// What a device gets, and what the host keeps.
    Sent {
        /// A copy to read: the host's stays.
        Shared = 0 "shared",
        /// The only copy.
        Owned = 1 "owned",
        /// The only copy, whose old bytes do not matter.
        Overwritten = 2 "overwritten",
    }
}

/// One thing that happened. Addresses and lengths are in bytes; of a move they are those from the first page that was asked
/// for to the last. `copied` and `spared` are bytes of it that were and that need not be copied. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named here and at each kind")]
pub enum What {
    /// Memory is managed from here on: a block of the heap, or the program's own.
    Begin { addr: u64, len: u64, why: Why },
    /// A block, by its address, or the program's own memory ceases to be managed. Of a block the length is all of it.
    End { addr: u64, len: u64, why: Why },
    /// A CPU touch that faulted; `took` is all of its time, of which it `waited` for kernels. Not `answered`: SIGBUS.
    Fault { addr: u64, write: bool, answered: bool, took: u64, waited: u64 },
    /// Pages came home; with `write` the device's copies are gone.
    Home { addr: u64, len: u64, why: Why, write: bool, copied: u64, spared: u64 },
    /// The CPU writes pages that devices had copies of: those are gone, and nothing was copied.
    Taken { addr: u64, len: u64, why: Why },
    /// Pages went to a device.
    Out { addr: u64, len: u64, why: Why, device: u16, sent: Sent, copied: u64, spared: u64 },
    /// Contents were given up.
    Discard { addr: u64, len: u64, spared: u64 },
    /// A device is to use a range; of a launch (`why`) or `hmm_acquire`. [`What::Acquired`] of the same thread follows.
    Acquire { addr: u64, len: u64, why: Why, device: u16, stream: u16, mode: AccessMode },
    /// All of `ranges` ranges are on the device, or `failed`; `took` is the launch's stall.
    Acquired { why: Why, device: u16, stream: u16, ranges: u64, took: u64, failed: bool },
    /// The kernel that the ranges just acquired by this thread are for.
    Launch { device: u16, stream: u16, kernel: u32 },
    /// A kernel's name, cut to what has room, ahead of its first launch.
    Kernel { kernel: u32, name: Name },
    /// What was acquired is given back when the stream reaches `ticket`.
    Release { why: Why, device: u16, stream: u16, ticket: u64 },
    /// A stream got there.
    Reached { stream: u16, ticket: u64 },
    /// A thread waited: for a stream's work, for somebody's release, or for a system call (`stream` is `None`).
    Wait { stream: Option<u16>, took: u64 },
    /// A prefetch was asked for; `device` is `None` for the host.
    Prefetch { addr: u64, len: u64, device: Option<u16>, stream: u16 },
    /// Advice on a range: the number that `hmm_advise` has for it.
    Advice { addr: u64, len: u64, device: Option<u16>, advice: u32 },
    /// A device was opened; `memory` is its size in bytes.
    Device { device: u16, memory: u64 },
    /// A call failed with this status of the C interface.
    Error { code: i32 },
}

/// A short text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name(pub(super) [u64; head::TEXT]);

impl Name {
    /// Cut to what has room.
    pub(crate) fn new(text: &str) -> Name {
        let mut end = text.len().min(head::TEXT * 8);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut words = [0; head::TEXT];
        for (word, bytes) in words.iter_mut().zip(text.as_bytes()[..end].chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
        }
        Name(words)
    }
}

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bytes: Vec<u8> = self.0.iter().flat_map(|w| w.to_le_bytes()).take_while(|b| *b != 0).collect();
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A record's fields but time, thread and number.
#[derive(Clone, Copy, Default)]
struct Fields {
    kind: u8,
    why: u8,
    /// A device's number and 1 more, or 0.
    device: u16,
    /// Small facts of the kind.
    detail: u16,
    number: u32,
    words: [u64; 4],
}

/// Device numbers, where none is 0.
fn some(device: Option<u16>) -> u16 {
    device.map_or(0, |d| d.saturating_add(1))
}

impl What {
    fn fields(&self) -> Fields {
        let with = |kind, words| Fields { kind, words, ..Fields::default() };
        let of = |kind, why: Why, words| Fields { why: why as u8, ..with(kind, words) };
        match *self {
            What::Begin { addr, len, why } => of(1, why, [addr, len, 0, 0]),
            What::End { addr, len, why } => of(2, why, [addr, len, 0, 0]),
            What::Fault { addr, write, answered, took, waited } => {
                let detail = u16::from(write) | u16::from(answered) << 1;
                Fields { detail, ..with(3, [addr, took, waited, 0]) }
            }
            What::Home { addr, len, why, write, copied, spared } => {
                Fields { detail: write.into(), ..of(4, why, [addr, len, copied, spared]) }
            }
            What::Taken { addr, len, why } => of(5, why, [addr, len, 0, 0]),
            What::Out { addr, len, why, device, sent, copied, spared } => {
                let device = some(Some(device));
                Fields { device, detail: sent as u16, ..of(6, why, [addr, len, copied, spared]) }
            }
            What::Discard { addr, len, spared } => of(7, Why::Discard, [addr, len, 0, spared]),
            What::Acquire { addr, len, why, device, stream, mode } => {
                let device = some(Some(device));
                Fields { device, detail: mode as u16, ..of(8, why, [addr, len, stream.into(), 0]) }
            }
            What::Acquired { why, device, stream, ranges, took, failed } => {
                let device = some(Some(device));
                Fields { device, detail: failed.into(), ..of(9, why, [ranges, took, stream.into(), 0]) }
            }
            What::Launch { device, stream, kernel } => {
                Fields { device: some(Some(device)), number: kernel, ..with(10, [0, 0, stream.into(), 0]) }
            }
            What::Kernel { kernel, name } => Fields { number: kernel, ..with(11, name.0) },
            What::Release { why, device, stream, ticket } => {
                Fields { device: some(Some(device)), ..of(12, why, [ticket, 0, stream.into(), 0]) }
            }
            What::Reached { stream, ticket } => with(13, [ticket, 0, stream.into(), 0]),
            What::Wait { stream, took } => Fields { detail: some(stream), ..with(14, [took, 0, 0, 0]) },
            What::Prefetch { addr, len, device, stream } => {
                Fields { device: some(device), ..with(15, [addr, len, stream.into(), 0]) }
            }
            What::Advice { addr, len, device, advice } => {
                Fields { device: some(device), number: advice, ..with(16, [addr, len, 0, 0]) }
            }
            What::Device { device, memory } => {
                Fields { device: some(Some(device)), ..with(17, [memory, 0, 0, 0]) }
            }
            What::Error { code } => Fields { number: code.cast_unsigned(), ..with(18, [0; 4]) },
        }
    }

    fn of(f: &Fields) -> Option<What> {
        let [addr, len, third, fourth] = f.words;
        let why = Why::of(f.why)?;
        let device = f.device.checked_sub(1);
        let stream = third as u16;
        let (copied, spared) = (third, fourth);
        Some(match f.kind {
            1 => What::Begin { addr, len, why },
            2 => What::End { addr, len, why },
            3 => {
                let (write, answered) = (f.detail & 1 != 0, f.detail & 2 != 0);
                What::Fault { addr, write, answered, took: len, waited: third }
            }
            4 => What::Home { addr, len, why, write: f.detail != 0, copied, spared },
            5 => What::Taken { addr, len, why },
            6 => {
                let sent = Sent::of(u8::try_from(f.detail).ok()?)?;
                What::Out { addr, len, why, device: device?, sent, copied, spared }
            }
            7 => What::Discard { addr, len, spared },
            8 => {
                let mode = match f.detail {
                    1 => AccessMode::Read,
                    2 => AccessMode::Write,
                    3 => AccessMode::ReadWrite,
                    _ => return None,
                };
                What::Acquire { addr, len, why, device: device?, stream, mode }
            }
            9 => {
                let failed = f.detail != 0;
                What::Acquired { why, device: device?, stream, ranges: addr, took: len, failed }
            }
            10 => What::Launch { device: device?, stream, kernel: f.number },
            11 => What::Kernel { kernel: f.number, name: Name(f.words) },
            12 => What::Release { why, device: device?, stream, ticket: addr },
            13 => What::Reached { stream, ticket: addr },
            14 => What::Wait { stream: f.detail.checked_sub(1), took: addr },
            15 => What::Prefetch { addr, len, device, stream },
            16 => What::Advice { addr, len, device, advice: f.number },
            17 => What::Device { device: device?, memory: addr },
            18 => What::Error { code: f.number.cast_signed() },
            _ => return None,
        })
    }
}

/// Something that happened, when, and in which thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since the trace began.
    pub time: u64,
    /// The kernel's number of the thread.
    pub thread: u32,
    /// What.
    pub what: What,
}

impl Event {
    /// As the words of a record without the last. Signal-safe.
    pub(super) fn pack(&self) -> [u64; WORDS - 1] {
        let f = self.what.fields();
        let who = u64::from(self.thread) | u64::from(f.device) << 32 | u64::from(f.detail) << 48;
        let kind = u64::from(f.kind) | u64::from(f.why) << 8 | u64::from(f.number) << 32;
        let [a, b, c, d] = f.words;
        [self.time, kind, who, a, b, c, d]
    }

    /// The other way round; `None`: no record of this version.
    pub(super) fn unpack(words: [u64; WORDS - 1]) -> Option<Event> {
        let [time, kind, who, a, b, c, d] = words;
        let what = What::of(&Fields {
            kind: kind as u8,
            why: (kind >> 8) as u8,
            device: (who >> 32) as u16,
            detail: (who >> 48) as u16,
            number: (kind >> 32) as u32,
            words: [a, b, c, d],
        })?;
        Some(Event { time, thread: who as u32, what })
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
