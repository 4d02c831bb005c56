//! Contexts, and which of them is the calling thread's: a stack without a destructor, so that it also works in threads
//! that are ending and in signal handlers.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use hmmrt_double_core::device::{self, Device};
use hmmrt_double_core::handles::Handles;
use hmmrt_double_core::lock::held;
use hmmrt_double_core::{Error, Result, modules, space};

/// A context.
pub(crate) struct Context {
    pub(crate) device: &'static Device,
}

/// A device's primary context: its handle while it is retained, and how often it is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Primary {
    pub(crate) handle: u64,
    pub(crate) count: u32,
}

static CONTEXTS: Handles<Context> = Handles::new();
static PRIMARY: Mutex<[Primary; device::MOST]> = Mutex::new([Primary { handle: 0, count: 0 }; device::MOST]);

const DEEPEST: usize = 32;

thread_local! {
    static STACK: Cell<([u64; DEEPEST], usize)> = const { Cell::new(([0; DEEPEST], 0)) };
}

/// The thread's current context, 0 if there is none.
pub(crate) fn top() -> u64 {
    let (stack, depth) = STACK.get();
    if depth == 0 { 0 } else { stack[depth - 1] }
}

pub(crate) use hmmrt_double_core::process::ready;

/// The thread's current device.
pub(crate) fn device() -> Result<&'static Device> {
    match top() {
        0 => Err(Error::INVALID_CONTEXT),
        handle => CONTEXTS.get(handle).map(|c| c.device).map_err(|_| Error::CONTEXT_DESTROYED),
    }
}

/// The number that a call gives.
pub(crate) fn finish(result: Result) -> i32 {
    result.err().map_or(0, |error| error.0)
}

/// The device of a context.
pub(crate) fn device_of(context: u64) -> Result<&'static Device> {
    CONTEXTS.get(context).map(|c| c.device).map_err(|_| Error::INVALID_CONTEXT)
}

/// Makes a context current, on top of the others.
pub(crate) fn push(context: u64) -> Result {
    device_of(context)?;
    let (mut stack, depth) = STACK.get();
    *stack.get_mut(depth).ok_or(Error::INVALID_VALUE)? = context;
    STACK.set((stack, depth + 1));
    Ok(())
}

/// Takes the top off.
pub(crate) fn pop() -> Result<u64> {
    let (stack, depth) = STACK.get();
    if depth == 0 {
        return Err(Error::INVALID_CONTEXT);
    }
    STACK.set((stack, depth - 1));
    Ok(stack[depth - 1])
}

/// Replaces the top; 0 takes it off.
pub(crate) fn set(context: u64) -> Result {
    if context != 0 {
        device_of(context)?;
    }
    if top() != 0 {
        pop()?;
    }
    if context != 0 { push(context) } else { Ok(()) }
}

/// Makes a context.
pub(crate) fn create(device: &'static Device) -> u64 {
    CONTEXTS.add(Arc::new(Context { device }))
}

/// Ends a context that [`create`] made.
pub(crate) fn destroy(context: u64) -> Result {
    if held(&PRIMARY).iter().any(|primary| primary.handle == context) {
        return Err(Error::INVALID_CONTEXT);
    }
    CONTEXTS.remove(context).map_err(|_| Error::INVALID_CONTEXT)?;
    if top() == context {
        pop()?;
    }
    Ok(())
}

/// A device's primary context.
pub(crate) fn primary(device: &Device) -> Primary {
    held(&PRIMARY)[device.number]
}

/// Retains a device's primary context.
pub(crate) fn retain(device: &'static Device) -> u64 {
    let primary = &mut held(&PRIMARY)[device.number];
    if primary.count == 0 {
        primary.handle = create(device);
    }
    primary.count += 1;
    primary.handle
}

/// Releases it. True: that was the last, and [`end`] has to follow.
pub(crate) fn release(device: &Device) -> Result<bool> {
    let primary = &mut held(&PRIMARY)[device.number];
    primary.count = primary.count.checked_sub(1).ok_or(Error::INVALID_CONTEXT)?;
    if primary.count == 0 {
        CONTEXTS.remove(primary.handle)?;
        primary.handle = 0;
    }
    Ok(primary.count == 0)
}

/// Ends everything that a device's contexts had; its work is done.
pub(crate) fn end(device: &'static Device) {
    modules::forget(device);
    device.reset();
    space::free_all(device);
}
