//! The calls that are about no memory: streams, modules, settings, statistics, starting and stopping.

use super::{DEVICES, World, refused, start};
use core::ffi::{c_char, c_void};
use core::ptr::null_mut;
use hmmrt_interface::config::hmm_config;
use hmmrt_interface::device::{hmm_device_count, hmm_device_info};
use hmmrt_interface::kernel::{hmm_kernel_get, hmm_launch, hmm_module_builtin, hmm_module_load};
use hmmrt_interface::last_error::hmm_last_error;
use hmmrt_interface::life::{hmm_init, hmm_version};
use hmmrt_interface::look::{hmm_stats_get, hmm_stats_reset};
use hmmrt_interface::status::hmm_status::*;
use hmmrt_interface::status::hmm_strerror;
use hmmrt_interface::stream::{
    hmm_stream_create, hmm_stream_destroy, hmm_stream_from_native, hmm_stream_synchronize,
};
use hmmrt_interface::types::{hmm_device_info_s, hmm_launch_config, hmm_stats, hmm_stream};

/// Room for any struct; what is not a struct's own must stay as it is.
const ROOM: usize = 512;
const FILLER: u8 = 0xa5;

impl World<'_> {
    pub(super) fn streams(&mut self) {
        match self.bytes.below(4) {
            0 if self.streams.len() < 6 => {
                let (device, right) = self.device();
                let mut stream = null_mut();
                // SAFETY: room for the answer.
                let status = unsafe { hmm_stream_create(device, &raw mut stream) };
                if !right || !self.is_up {
                    return refused(status);
                }
                assert!(status == HMM_OK && !stream.is_null());
                self.streams.push((device, stream));
            }
            1 => {
                let (.., stream, valid) = self.stream();
                let status = hmm_stream_synchronize(stream);
                if valid && self.is_up { assert_eq!(status, HMM_OK) } else { refused(status) }
            }
            2 if self.streams.len() > DEVICES => {
                let number = DEVICES + self.bytes.below(self.streams.len() - DEVICES);
                let (device, stream) = self.streams.swap_remove(number);
                self.end_stream(stream);
                self.blocks.iter_mut().for_each(|block| block.released(device, stream));
            }
            _ => {
                let (mut stream, wild) = (null_mut(), self.bytes.wild());
                // SAFETY: the host backend has no streams of a driver's, and refuses.
                refused(unsafe {
                    hmm_stream_from_native(0, core::ptr::without_provenance_mut(wild), &raw mut stream)
                });
                refused(hmm_stream_destroy(core::ptr::without_provenance_mut(wild)));
                refused(hmm_stream_destroy(null_mut()));
                assert!(stream.is_null(), "written by a call that failed");
            }
        }
    }

    pub(super) fn end_stream(&mut self, stream: hmm_stream) {
        if !stream.is_null() {
            assert_eq!(hmm_stream_destroy(stream), HMM_OK);
            self.stale = stream;
        }
    }

    pub(super) fn modules(&mut self) {
        let (device, right) = self.device();
        let mut module = null_mut();
        // SAFETY: room for the answer.
        let status = unsafe { hmm_module_builtin(device, &raw mut module) };
        if !right || !self.is_up {
            refused(status);
        } else {
            assert_eq!(status, HMM_OK);
        }
        let name: [u8; 12] = core::array::from_fn(|_| self.bytes.byte());
        let names = [c"hmm_fill".as_ptr(), c"hmm_sum".as_ptr(), c"".as_ptr(), name.as_ptr().cast::<c_char>()];
        let which = if name[11] == 0 { self.bytes.below(4) } else { self.bytes.below(3) };
        let wild = core::ptr::without_provenance_mut(self.bytes.wild());
        let given = if self.bytes.once_in(4) { wild } else { module };
        let mut kernel = null_mut();
        // SAFETY: a C string, and room for the answer.
        let status = unsafe { hmm_kernel_get(given, names[which], &raw mut kernel) };
        assert_eq!(kernel.is_null(), status != HMM_OK);
        if which < 2 && status == HMM_OK {
            // No arguments, where there should be some; a struct of any size.
            let mut config = [0_u64; ROOM / 8];
            (config[0], config[1], config[2]) = (self.bytes.number() % ROOM as u64, 1 | 1 << 32, 1 | 1 << 32);
            let config = config.as_ptr().cast::<hmm_launch_config>();
            // SAFETY: as long as it says; refused before anything runs.
            refused(unsafe { hmm_launch(kernel, config, core::ptr::null(), 0) });
        }
        let mut loaded = null_mut();
        // SAFETY: twelve bytes; the host backend loads nothing.
        refused(unsafe {
            hmm_module_load(device, name.as_ptr().cast::<c_void>(), name.len(), &raw mut loaded)
        });
        assert!(loaded.is_null(), "written by a call that failed");
    }

    pub(super) fn rest(&mut self) {
        match self.bytes.below(8) {
            0 => {
                let count = hmm_device_count();
                assert_eq!(count, if self.is_up { DEVICES as i32 } else { 0 });
            }
            1 => {
                let (device, right) = self.device();
                let first = 176;
                self.sized(first, right, |at| {
                    // SAFETY: room for any size that is not refused.
                    unsafe { hmm_device_info(device, at.cast::<hmm_device_info_s>()) == HMM_OK }
                });
            }
            2 => {
                let first = 160;
                // They can be read whenever.
                let was_up = core::mem::replace(&mut self.is_up, true);
                // SAFETY: room for any size that is not refused.
                self.sized(first, true, |at| unsafe { hmm_stats_get(at.cast::<hmm_stats>()) == HMM_OK });
                self.is_up = was_up;
            }
            3 => assert_eq!(hmm_stats_reset(), HMM_OK),
            4 => self.settings(),
            5 => self.texts(),
            6 if self.bytes.once_in(4) => {
                if self.is_up {
                    self.shut_down();
                } else {
                    start(self.bytes.once_in(2));
                    self.is_up = true;
                }
            }
            _ => {
                // SAFETY: NULL is allowed.
                let status = unsafe { hmm_init(core::ptr::null()) };
                assert_eq!(status, HMM_OK);
                if !self.is_up {
                    // With the environment's settings: not ours.
                    self.shut_down();
                }
            }
        }
    }

    /// A struct that is written, of any size.
    fn sized(&mut self, first: usize, right: bool, call: impl FnOnce(*mut u8) -> bool) {
        let size = match self.bytes.below(4) {
            0 => self.bytes.wild(),
            1 => first - 1 - self.bytes.below(first),
            _ => first + self.bytes.below(ROOM - first),
        };
        let mut room = [u64::from_ne_bytes([FILLER; 8]); ROOM / 8];
        room[0] = size as u64;
        if size > first {
            // What this version does not have must be zeros.
            room[first / 8..].fill(0);
        }
        let before = room;
        let done = call(room.as_mut_ptr().cast());
        assert!(!done || (right && self.is_up && size >= first));
        if done {
            let end = size.min(ROOM).div_ceil(8);
            assert_eq!(room[end..], before[end..], "written past the end");
        } else {
            assert_eq!(room, before, "written by a call that failed");
        }
    }

    /// Settings for a runtime that runs already, or that can't be understood.
    fn settings(&mut self) {
        if !self.is_up {
            return;
        }
        let mut room = [0_u64; ROOM / 8];
        for word in &mut room[1..12] {
            *word = self.bytes.number();
        }
        let sizes = [88, size_of::<hmm_config>(), ROOM, 0, 87, usize::MAX];
        room[0] = sizes[self.bytes.below(sizes.len())] as u64;
        // The strings, which must be some, begin behind what is filled.
        let strings = core::mem::offset_of!(hmm_config, host_fail) / 8;
        room[strings..strings + 3].fill(0);
        // SAFETY: as long as it says, or of a size that is refused.
        refused(unsafe { hmm_init(room.as_ptr().cast()) });
    }

    fn texts(&mut self) {
        let status = self.bytes.number() as i32;
        // SAFETY: any number is allowed; it is C's enum.
        let text = unsafe { core::ffi::CStr::from_ptr(hmm_strerror(super::kernels::raw(status))) };
        assert!(!text.is_empty());
        // SAFETY: a static C string.
        assert!(!unsafe { core::ffi::CStr::from_ptr(hmm_version()) }.is_empty());
        let n = self.bytes.below(64);
        let mut buffer = [FILLER; 64];
        // SAFETY: room for n bytes.
        let len = unsafe { hmm_last_error(buffer.as_mut_ptr().cast(), n) };
        assert!(buffer[n..].iter().all(|byte| *byte == FILLER), "written past the end");
        assert!(n == 0 || buffer[len.min(n - 1)] == 0, "without an end");
    }
}
