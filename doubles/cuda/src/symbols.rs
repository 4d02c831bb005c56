//! Looking functions up by name, as programs do that do not link to the driver. Only the double's own are found.

use core::ffi::c_void;

use hmmrt_double_core::argument::{Out, Text};
use hmmrt_double_core::entries::Symbol;
use hmmrt_double_core::inject::base;
use hmmrt_double_core::{Error, Result, entries, settings};

use crate::{context, copies, devices, memory, modules, names, pointers, streams, vmm};

/// All functions.
fn all() -> impl Iterator<Item = &'static (&'static str, Symbol)> {
    let groups = [
        context::SYMBOLS,
        copies::SYMBOLS,
        devices::SYMBOLS,
        memory::SYMBOLS,
        modules::SYMBOLS,
        names::SYMBOLS,
        pointers::SYMBOLS,
        streams::SYMBOLS,
        vmm::SYMBOLS,
        SYMBOLS,
    ];
    groups.into_iter().flatten()
}

/// Since which version a name means its ABI, for those that did not begin with it. `cuda.h` of the version that a program
/// was built with decides; the table has those that the runtime and its tests ask for.
const SINCE: &[(&str, i32)] = &[
    ("cuMemAddressReserve", 10020),
    ("cuMemCreate", 10020),
    ("cuMemMap", 10020),
    ("cuFuncGetParamInfo", 12040),
    ("cuGetProcAddress_v2", 12000),
    ("cuEventElapsedTime_v2", 12080),
    ("cuDeviceGetUuid_v2", 11040),
];

/// The function of a name without its version, at a version of CUDA: the highest `_vN` there was.
fn find(name: &str, version: i32) -> Option<*const ()> {
    let there = |symbol: &str| SINCE.iter().all(|(s, since)| *s != symbol || version >= *since);
    all()
        .filter(|(symbol, _)| (*symbol == name || base(symbol) == name) && there(symbol))
        .max_by_key(|(symbol, _)| *symbol)
        .map(|(_, symbol)| symbol.0)
}

fn get(name: &Text, out: &Out<*const ()>, version: i32, flags: u64, status: Option<&Out<i32>>) -> Result {
    let name = name.get()?;
    out.check()?;
    // Default, legacy stream, per-thread stream: the same functions.
    if flags > 2 {
        return Err(Error::INVALID_VALUE);
    }
    let found =
        if version > settings::get().version.unwrap_or(i32::MAX) { None } else { find(&name, version) };
    // Found, not there, or only in a newer version.
    let state = match found {
        Some(_) => 0,
        None if find(&name, i32::MAX).is_some() => 2,
        None => 1,
    };
    if let Some(status) = status {
        status.put_if(state);
    }
    out.put(found.unwrap_or(core::ptr::null()))?;
    if found.is_some() { Ok(()) } else { Err(Error::NOT_FOUND) }
}

entries! {
    Nothing fn cuGetProcAddress(_, name: Text, out: Out<*const ()>, version: i32, flags: u64) {
        get(&name, &out, version, flags, None)
    }

    Nothing fn cuGetProcAddress_v2(
        _,
        name: Text,
        out: Out<*const ()>,
        version: i32,
        flags: u64,
        status: Out<i32>,
    ) {
        get(&name, &out, version, flags, Some(&status))
    }

    Nothing fn cuGetExportTable(_, out: Out<*const c_void>, _id: *const c_void) {
        // What the CUDA runtime library asks for and nobody else can give.
        out.put(core::ptr::null())?;
        Err(Error::NOT_FOUND)
    }
}
