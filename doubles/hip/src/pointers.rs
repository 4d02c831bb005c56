//! What the driver makes of a pointer: `hipPointerGetAttributes`, with the layout and numbers of ROCm 6.

use core::ffi::c_void;

use hmmrt_double_core::argument::{Out, number};
use hmmrt_double_core::host::Kind;
use hmmrt_double_core::space::{self, Found};
use hmmrt_double_core::{Error, entries};

const HOST: i32 = 1;
const DEVICE: i32 = 2;
const MANAGED: i32 = 3;

/// `hipPointerAttribute_t`.
#[repr(C)]
struct Attributes {
    kind: i32,
    device: i32,
    device_pointer: u64,
    host_pointer: u64,
    is_managed: i32,
    flags: u32,
}

entries! {
    Health fn hipPointerGetAttributes(_, out: Out<Attributes>, at: *const c_void) {
        let at = number(at);
        let (kind, device) = match space::find(at) {
            Found::Device(_, _, device) => (DEVICE, device),
            Found::Host(b) => (if matches!(b.kind, Kind::Managed(_)) { MANAGED } else { HOST }, b.device),
            _ => return Err(Error::INVALID_VALUE),
        };
        out.put(Attributes {
            kind,
            device: device.number as i32,
            device_pointer: at,
            host_pointer: if kind == DEVICE { 0 } else { at },
            is_managed: i32::from(kind == MANAGED),
            flags: 0,
        })
    }
}
