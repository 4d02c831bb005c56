//! Looking functions up by name. Only the double's own are found.

use hmmrt_double_core::argument::{Out, Text};
use hmmrt_double_core::{Error, entries};

use crate::{copies, devices, memory, modules, pointers, programs, streams, vmm};

entries! {
    Nothing fn hipGetProcAddress(
        _,
        name: Text,
        out: Out<*const ()>,
        _version: i32,
        _flags: u64,
        status: Out<i32>,
    ) {
        let groups = [
            copies::SYMBOLS,
            devices::SYMBOLS,
            memory::SYMBOLS,
            modules::SYMBOLS,
            pointers::SYMBOLS,
            programs::SYMBOLS,
            streams::SYMBOLS,
            vmm::SYMBOLS,
            SYMBOLS,
        ];
        let name = name.get()?;
        let found = groups.into_iter().flatten().find(|(symbol, _)| *symbol == name);
        // Found, or not there.
        status.put_if(i32::from(found.is_none()));
        out.put(found.map_or(core::ptr::null(), |(_, symbol)| symbol.0))?;
        if found.is_some() { Ok(()) } else { Err(Error::NOT_FOUND) }
    }
}
