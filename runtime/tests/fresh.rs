//! Memory that is handed out is nobody's: what was in it before, on the host or on a device, is not seen by the CPU where
//! zeros are promised, and never by a kernel where a page is untouched. On whatever backend runs.

mod common;

use common::kernels::{builtin, kernel};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{AccessMode, LaunchArg, LaunchConfig, Page};

const SIZES: [usize; 7] = [1, 4096, 65_536, 700_000, 1 << 20, 3 << 20, 5_000_000];
const SECRET: u8 = 0xa5;

/// Runs a kernel with a range, its length, and perhaps a byte or another range before it.
fn run(name: &str, to: Option<(*mut u8, usize)>, range: (*mut u8, usize, AccessMode), value: Option<u8>) {
    let kernel = if name.starts_with("hmm_") { builtin(0, name) } else { kernel(0, name) };
    let (ptr, len, mode) = range;
    let n = len as u64;
    let mut args = Vec::new();
    args.extend(to.map(|(ptr, len)| LaunchArg::Pointer { ptr, len, mode: AccessMode::Write }));
    args.push(LaunchArg::Pointer { ptr, len, mode });
    args.push(LaunchArg::Value { data: (&raw const n).cast(), size: 8 });
    args.extend(value.as_ref().map(|v| LaunchArg::Value { data: (&raw const *v).cast(), size: 1 }));
    // SAFETY: the arguments fit the kernels.
    unsafe { raw::launch(kernel, &LaunchConfig::default(), &args).unwrap() };
}

/// What a kernel sees of the block, through a block of ours that it is copied to.
fn on_device(ptr: *mut u8, len: usize) -> Vec<u8> {
    let seen = raw::calloc(len, 1).unwrap();
    run("hmm_copy", Some((seen, len)), (ptr, len, AccessMode::Read), None);
    // SAFETY: a live block of so many bytes; touching it waits for the kernel.
    let bytes = unsafe { std::slice::from_raw_parts(seen, len) }.to_vec();
    // SAFETY: not used any more.
    unsafe { raw::free(seen).unwrap() };
    bytes
}

fn on_host(ptr: *mut u8, len: usize) -> Vec<u8> {
    // SAFETY: a live block of so many bytes.
    unsafe { std::slice::from_raw_parts(ptr, len) }.to_vec()
}

fn zeros(bytes: &[u8], what: &str) {
    let first = bytes.iter().position(|b| *b != 0);
    assert!(
        first.is_none(),
        "{what}: byte {} of {} is {:#x}",
        first.unwrap(),
        bytes.len(),
        bytes[first.unwrap()]
    );
}

/// Leaves secrets in blocks on the host, on the device and on both, and frees them.
fn leave_secrets(len: usize) {
    let blocks: Vec<_> = (0..3).map(|_| raw::malloc(len).unwrap()).collect();
    for (i, ptr) in blocks.iter().enumerate() {
        // SAFETY: a live block of so many bytes.
        unsafe { ptr.write_bytes(SECRET, len) };
        if i > 0 {
            run("test_fill_bytes", None, (*ptr, len, AccessMode::Write), Some(SECRET));
        }
        if i > 1 {
            assert_eq!(on_host(*ptr, len), vec![SECRET; len]);
        }
    }
    // SAFETY: not used any more.
    blocks.into_iter().for_each(|ptr| unsafe { raw::free(ptr).unwrap() });
}

#[test]
fn memory_is_fresh() {
    raw::init(Some(common::config())).unwrap();
    for round in 0..(6.0 * common::scale()).ceil() as usize {
        for len in SIZES {
            cleared(len, round);
            untouched(len);
            discarded(len);
            neighbours(len);
        }
    }
}

/// hmm_calloc, read first by the device or first by the CPU.
fn cleared(len: usize, round: usize) {
    leave_secrets(len);
    let blocks: Vec<_> = (0..4).map(|_| raw::calloc(len, 1).unwrap()).collect();
    for (i, ptr) in blocks.iter().enumerate() {
        match (i + round) % 3 {
            0 => zeros(&on_device(*ptr, len), "calloc, on the device"),
            1 => drop(raw::migrate(*ptr, len, 0).unwrap()),
            _ => {}
        }
        zeros(&on_host(*ptr, len), "calloc, on the host");
        zeros(&on_device(*ptr, len), "calloc, on the device in the end");
    }
    // SAFETY: not used any more.
    blocks.into_iter().for_each(|ptr| unsafe { raw::free(ptr).unwrap() });
}

/// hmm_malloc: pages that are untouched are zeros wherever they are read. What else is in a block may be the program's own.
fn untouched(len: usize) {
    leave_secrets(len);
    let blocks: Vec<_> = (0..4).map(|_| raw::malloc(len).unwrap()).collect();
    for (i, ptr) in blocks.iter().enumerate() {
        let mut pages = vec![Page::default(); len.div_ceil(4096)];
        raw::query(*ptr, len, &mut pages).unwrap();
        if i % 2 == 1 {
            raw::migrate(*ptr, len, 0).unwrap();
        }
        let (device, host) = (on_device(*ptr, len), on_host(*ptr, len));
        assert!(device == host, "the device sees something else than the host");
        for (bytes, page) in device.chunks(4096).zip(&pages) {
            if page.flags & Page::UNTOUCHED != 0 {
                zeros(bytes, "an untouched page");
            }
        }
    }
    // SAFETY: not used any more.
    blocks.into_iter().for_each(|ptr| unsafe { raw::free(ptr).unwrap() });
}

/// hmm_discard, of what is on the host, on the device, or both: the whole pages are zeros, the rest stays.
fn discarded(len: usize) {
    for place in 0..3 {
        let ptr = raw::malloc(len).unwrap();
        // SAFETY: a live block of so many bytes.
        unsafe { ptr.write_bytes(SECRET, len) };
        if place > 0 {
            raw::migrate(ptr, len, 0).unwrap();
        }
        if place > 1 {
            raw::host_ready(ptr, len, AccessMode::Read).unwrap();
        }
        // SAFETY: nobody relies on the bytes.
        unsafe { raw::discard(ptr, len).unwrap() };
        let whole = len / 4096 * 4096;
        let device = on_device(ptr, len);
        zeros(&device[..whole], "discarded, on the device");
        assert!(device[whole..].iter().all(|b| *b == SECRET), "what was not discarded");
        zeros(&on_host(ptr, len)[..whole], "discarded, on the host");
        raw::migrate(ptr, len, HMM_HOST).unwrap();
        zeros(&on_host(ptr, len)[..whole], "discarded, home");
        // SAFETY: not used any more.
        unsafe { raw::free(ptr).unwrap() };
    }
}

/// A new block beside one with secrets: a move of either shows nothing of the other.
fn neighbours(len: usize) {
    let secret = raw::malloc(len).unwrap();
    // SAFETY: a live block of so many bytes.
    unsafe { secret.write_bytes(SECRET, len) };
    let ptr = raw::calloc(len, 1).unwrap();
    run("test_fill_bytes", None, (secret, len, AccessMode::Write), Some(SECRET));
    zeros(&on_device(ptr, len), "beside a secret, on the device");
    zeros(&on_host(ptr, len), "beside a secret");
    assert_eq!(on_host(secret, len), vec![SECRET; len]);
    // SAFETY: not used any more.
    unsafe {
        raw::free(ptr).unwrap();
        raw::free(secret).unwrap();
    }
}
