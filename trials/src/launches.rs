//! The parameters of a launch that a program gives its driver, in any form and with any pointers: what the preload library
//! reads of them is what is there, and its copy has the same bytes. Pointers whose size the driver tells are such as a program
//! may give; those that are guessed at may point anywhere.

use crate::os;
use crate::params::Params;
use std::ffi::c_void;
use std::sync::Arc;

/// Bytes that values are in; behind them nothing can be read.
const ROOM: usize = 2 * 4096;
/// The end of a list, as CUDA has it.
const END: usize = 0;

/// Memory with nothing readable behind it.
struct Arena(*mut u8);

impl Arena {
    fn new(contents: &[u8]) -> Arena {
        let at = os::map(0, ROOM + 4096, false);
        // SAFETY: a mapping of its own, of which the first part is written.
        unsafe {
            assert!(os::open(at.cast(), ROOM));
            for i in 0..ROOM {
                at.add(i)
                    .write(contents.get(i % contents.len().max(1)).copied().unwrap_or(0) ^ (i >> 3) as u8);
            }
            Arena(at)
        }
    }

    /// What is there.
    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, written, and nobody changes it.
        unsafe { std::slice::from_raw_parts(self.0, ROOM) }
    }

    fn at(&self, offset: usize) -> *mut c_void {
        self.0.wrapping_add(offset).cast()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody has it any more.
        unsafe { os::unmap(self.0, ROOM + 4096) };
    }
}

/// The input: a byte that chooses, then two for each number.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }
    fn number(&mut self) -> usize {
        self.byte() << 8 | self.byte()
    }
}

/// A launch: its kind, its values, and the contents of the memory that they are in.
pub fn launches(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (kind, count) = (input.byte() % 3, input.byte() % 140);
    match kind {
        0 => known(&mut input, count),
        1 => guessed(&mut input, count),
        _ => listed(&mut input),
    }
}

/// Whole words of a value, as the library is to see them.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.chunks_exact(8).map(|word| usize::from_ne_bytes(word.try_into().expect("8 bytes")))
}

fn seen(params: &Params) -> Vec<usize> {
    let mut all = Vec::new();
    params.words(&mut |word| all.push(word));
    all
}

/// The bytes of a value in the library's copy.
///
/// # Safety
/// It has so many.
unsafe fn copied<'a>(value: *mut c_void, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(value.cast(), len) }
}

/// CUDA's: a pointer to each value, whose sizes the driver knows.
fn known(input: &mut Input, count: usize) {
    let values: Vec<Option<(usize, usize)>> = (0..count)
        .map(|_| {
            let (from, len) = (input.number() % ROOM, input.number() % 300);
            (len % 7 != 6).then_some((from, len.min(ROOM - from)))
        })
        .collect();
    let arena = Arena::new(input.0);
    let mut each: Vec<_> =
        values.iter().map(|v| v.map_or(std::ptr::null_mut(), |(from, _)| arena.at(from))).collect();
    let sizes: Arc<[usize]> = values.iter().map(|v| v.map_or(8, |(_, len)| len)).collect();
    // SAFETY: each pointer is NULL or to as many bytes as its size says.
    let params = unsafe { Params::new(each.as_mut_ptr(), std::ptr::null_mut(), END, || Some(sizes), false) };
    let parts = || values.iter().map(|v| v.map_or(&[][..], |(from, len)| &arena.bytes()[from..from + len]));
    assert_eq!(seen(&params), parts().flat_map(words_of).collect::<Vec<_>>());
    assert!(!params.are_managed() && !params.is_unknown());
    let mut copy = params.copy(END);
    assert!(copy.list().is_null() && copy.each().is_null() == values.is_empty());
    for (i, (part, value)) in parts().zip(&values).enumerate() {
        // SAFETY: as many pointers as values, and each is NULL or a copy of that length.
        unsafe {
            let to = *copy.each().add(i);
            assert!(to.is_null() == value.is_none() && (to.is_null() || copied(to, part.len()) == part));
        }
    }
    copy.translate(&|word| word ^ 1);
    for (i, part) in parts().enumerate().filter(|(_, part)| part.len() >= 8) {
        // SAFETY: as above.
        let first = unsafe { copied(*copy.each().add(i), 8) }[0];
        assert_eq!(first, part[0] ^ 1, "the first word's lowest byte");
    }
}

/// HIP's: pointers, and nobody knows to what or how many.
fn guessed(input: &mut Input, count: usize) {
    let choices: Vec<_> = (0..count).map(|_| (input.byte() % 8, input.number())).collect();
    let arena = Arena::new(input.0);
    let wild = std::ptr::without_provenance_mut;
    let place = |&(how, number): &(usize, usize)| match how {
        0 => wild(number),                 // in the first pages
        1 => wild(usize::MAX - number),    // at the end of all addresses
        2 => wild(number << 48 | number),  // where nothing can be
        3 => arena.at(ROOM - number % 64), // with little behind it, or nothing
        _ => arena.at(number % ROOM),
    };
    let mut each: Vec<_> = choices.iter().map(place).collect();
    // Read as far as it goes: behind the list, too.
    each.resize(128, std::ptr::null_mut());
    // SAFETY: a list of pointers, to be guessed at.
    let params = unsafe { Params::new(each.as_mut_ptr(), std::ptr::null_mut(), END, || None, true) };
    assert!(!params.is_unknown(), "the list can be read");
    let Params::Guessed { values, .. } = &params else { panic!("guessed") };
    assert!(values.len() <= count.min(128));
    let mut copy = params.copy(END);
    for (i, value) in each.iter().enumerate().take(values.len()) {
        // SAFETY: as many pointers as values, and one more.
        let to = unsafe { *copy.each().add(i) };
        let from = value.addr().wrapping_sub(arena.0.addr());
        if let Some(bytes) = arena.bytes().get(from..from.saturating_add(4096).min(ROOM)) {
            // SAFETY: a copy of all that could be read, up to 4096 bytes.
            assert_eq!(unsafe { copied(to, bytes.len()) }, bytes);
        }
    }
    // SAFETY: as above.
    assert!(unsafe { *copy.each().add(values.len()) }.is_null());
}

/// Pointers and values in managed memory, each across two pages of which the second is away and comes home by itself only:
/// all of them are seen, and the copy has all bytes. On the host backend.
pub fn across_pages() {
    use hmmrt::{AccessMode, Advice, Backend, Config, raw};
    const PAGE: usize = 4096;
    let config = Config { backend: Backend::Host, ..Config::default() };
    raw::init(Some(config)).expect("the first to start it");
    let block = raw::malloc(4 << 20).expect("a block");
    raw::advise(block, 4 << 20, Advice::Random, 0).expect("single pages come home");
    let word = |offset: usize| block.wrapping_add(offset).cast::<usize>();
    // Three pointers, the last behind the border; the last value's second half is behind one, too.
    let (each, values) = (PAGE - 16, [5 * PAGE, 6 * PAGE, 9 * PAGE - 32]);
    // SAFETY: inside the block.
    unsafe {
        for (i, value) in values.into_iter().enumerate() {
            word(each + 8 * i).write(word(value).expose_provenance());
            (0..8).for_each(|n| word(value + 8 * n).write(1000 * (i + 1) + n));
        }
    }
    raw::migrate(block, 4 << 20, 0).expect("room");
    raw::host_ready(word(each).cast(), 1, AccessMode::Read).expect("the first page");
    // SAFETY: a list of pointers, to be guessed at.
    let params = unsafe { Params::new(word(each).cast(), std::ptr::null_mut(), END, || None, true) };
    let words = seen(&params);
    for i in 0..3 {
        assert!((0..8).all(|n| words.contains(&(1000 * (i + 1) + n))), "value {i}: {words:?}");
    }
    raw::migrate(block, 4 << 20, 0).expect("room");
    let mut copy = params.copy(END);
    // SAFETY: three pointers, to copies of what was written.
    unsafe {
        let last = (*copy.each().add(2)).cast::<usize>();
        assert!((0..8).all(|n| last.add(n).read() == 3000 + n));
        raw::free(block).expect("nobody uses it");
    }
}

/// One buffer, in a list of names and values.
fn listed(input: &mut Input) {
    let (shape, from, len) = (input.byte(), input.number() % ROOM, input.number() % 5000);
    let len = len.min(ROOM - from);
    let arena = Arena::new(input.0);
    let mut size = len;
    let (name, room) = (std::ptr::without_provenance_mut::<c_void>, (&raw mut size).cast::<c_void>());
    let buffer = [name(1), arena.at(from)];
    let sized = [name(2), room];
    let mut list = match shape % 5 {
        0 => [&buffer[..], &sized, &[name(END)]].concat(),
        1 => [&sized[..], &buffer, &[name(END)]].concat(),
        2 => [&sized[..], &[name(END)]].concat(),
        3 => [&buffer[..], &[name(7), room], &sized, &[name(END)]].concat(),
        _ => vec![name(END)],
    };
    let list = list.as_mut_ptr();
    // SAFETY: a list with an end, of a buffer of that size.
    let params = unsafe { Params::new(std::ptr::null_mut(), list, END, || None, true) };
    let whole = shape % 5 < 2;
    let bytes = &arena.bytes()[from..from + len];
    let expected: Vec<_> = if whole { words_of(bytes).collect() } else { Vec::new() };
    assert_eq!(seen(&params), expected);
    let mut copy = params.copy(END);
    assert!(copy.each().is_null() && copy.list().is_null() != whole);
    if whole {
        // SAFETY: name, buffer, name, size, end.
        unsafe {
            let list = copy.list();
            assert_eq!([*list, *list.add(2), *list.add(4)].map(|name| name.addr()), [1, 2, END]);
            assert_eq!((*list.add(3)).cast::<usize>().read(), len);
            assert_eq!(copied(*list.add(1), len), bytes);
        }
    }
}
