//! Virtual memory management. See `hmmrt_double_core::memory`.

use hmmrt_double_core::argument::{In, Out};
use hmmrt_double_core::memory::{self, Access, Prop};
use hmmrt_double_core::{Error, entries};

entries! {
    Init fn hipMemGetAllocationGranularity(_, out: Out<usize>, prop: In<Prop>, option: i32) {
        out.check()?;
        out.put(memory::granularity(prop.get()?, option)?)
    }

    Init fn hipMemAddressReserve(_, out: Out<u64>, size: usize, align: usize, hint: u64, flags: u64) {
        out.check()?;
        out.put(memory::reserve(size as u64, align as u64, hint, flags)?)
    }

    Init fn hipMemAddressFree(_, at: u64, size: usize) {
        memory::unreserve(at, size as u64)
    }

    Init fn hipMemCreate(_, out: Out<u64>, size: usize, prop: In<Prop>, flags: u64) {
        out.check()?;
        out.put(memory::create(size as u64, prop.get()?, flags)?)
    }

    Init fn hipMemRelease(_, handle: u64) {
        memory::release(handle)
    }

    Init fn hipMemMap(_, at: u64, size: usize, offset: usize, handle: u64, flags: u64) {
        memory::map(at, size as u64, offset as u64, handle, flags)
    }

    Init fn hipMemUnmap(_, at: u64, size: usize) {
        memory::unmap(at, size as u64)
    }

    Init fn hipMemSetAccess(_, at: u64, size: usize, access: In<Access>, count: usize) {
        if count == 0 {
            return Err(Error::INVALID_VALUE);
        }
        (0..count).try_for_each(|i| memory::set_access(at, size as u64, access.at(i)?))
    }
}
