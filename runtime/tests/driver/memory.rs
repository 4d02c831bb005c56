//! Blocks of which every 64th word is known, and what is done with them.

use super::common::{self, Block, kernels};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{AccessMode, Error, KernelId, LaunchArg, LaunchConfig, Page, StreamId};
use std::sync::atomic::Ordering::Relaxed;

pub fn fill(b: &Block) {
    (0..b.words()).step_by(64).for_each(|i| b.word(i).store(i as u64 + 1, Relaxed));
}

pub fn check(b: &Block) {
    let wrong = (0..b.words()).step_by(64).find(|&i| b.word(i).load(Relaxed) != i as u64 + 1);
    assert_eq!(wrong, None, "{:p}", b.ptr);
}

/// To every device, through a kernel, and home.
pub fn works(b: &Block) {
    fill(b);
    for device in common::two_devices() {
        raw::migrate(b.ptr, b.len, device).unwrap();
        assert!(b.pages().iter().all(|p| p.flags & (Page::HOST | Page::DEVICE) == Page::DEVICE));
        add_one(b, device, StreamId::DEFAULT, 255);
        add_one(b, device, StreamId::DEFAULT, 1);
    }
    check(b);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    raw::migrate(b.ptr, b.len, HMM_HOST).unwrap();
    check(b);
}

/// Adds to every byte of a block, on the device.
pub fn add_one(b: &Block, device: i32, stream: StreamId, value: u8) {
    try_add(b, device, stream, value).unwrap();
}

pub fn try_add(b: &Block, device: i32, stream: StreamId, value: u8) -> Result<(), Error> {
    let kernel = kernels::kernel(device, "test_add_bytes");
    try_launch(kernel, b, stream, value)
}

pub fn try_launch(add: KernelId, b: &Block, stream: StreamId, value: u8) -> Result<(), Error> {
    let n = b.len as u64;
    let args = [
        LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const value).cast(), size: 1 },
    ];
    let config = LaunchConfig { stream, ..LaunchConfig::linear(b.len / 16, 256) };
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(add, &config, &args) }
}

pub fn device_ptr(b: &Block, device: i32) -> *mut u8 {
    raw::device_ptr(b.ptr, device).unwrap().cast()
}
