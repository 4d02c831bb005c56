//! Streams, events, host functions.

use core::ffi::c_void;

use hmmrt_double_core::argument::Out;
use hmmrt_double_core::{Error, entries, streams};

/// Flags of events that say what a record flushes: to the device, to the system. All the same here.
const RELEASE: u32 = 0x4000_0000 | 0x8000_0000;

/// A host function and its argument, on its way to another thread.
struct HostFunction(unsafe extern "C" fn(*mut c_void), *mut c_void);

// SAFETY: the program gave both for another thread to use.
unsafe impl Send for HostFunction {}

impl HostFunction {
    fn call(self) {
        // SAFETY: the program's function with the program's argument.
        unsafe { (self.0)(self.1) }
    }
}

entries! {
    Health fn hipStreamCreate(frame, out: Out<u64>) {
        out.check()?;
        out.put(streams::create(frame, 0)?)
    }

    Health fn hipStreamCreateWithFlags(frame, out: Out<u64>, flags: u32) {
        out.check()?;
        out.put(streams::create(frame, flags)?)
    }

    Health fn hipStreamCreateWithPriority(frame, out: Out<u64>, flags: u32, _priority: i32) {
        out.check()?;
        out.put(streams::create(frame, flags)?)
    }

    Context fn hipStreamDestroy(_, stream: u64) {
        streams::destroy(stream)
    }

    Context fn hipStreamSynchronize(frame, stream: u64) {
        streams::synchronize(frame, stream)
    }

    Context fn hipStreamQuery(frame, stream: u64) {
        streams::query(frame, stream)
    }

    Context fn hipStreamWaitEvent(frame, stream: u64, event: u64, flags: u32) {
        streams::wait(frame, stream, event, flags)
    }

    Context fn hipStreamGetDevice(frame, stream: u64, out: Out<i32>) {
        out.put(streams::stream(frame, stream)?.device.number as i32)
    }

    Context fn hipLaunchHostFunc(
        frame,
        stream: u64,
        function: Option<unsafe extern "C" fn(*mut c_void)>,
        data: *mut c_void,
    ) {
        let function = HostFunction(function.ok_or(Error::INVALID_VALUE)?, data);
        streams::host_function(frame, stream, move || function.call())
    }

    Context fn hipStreamBeginCapture(frame, stream: u64, mode: i32) {
        streams::begin_capture(frame, stream, mode)
    }

    Context fn hipStreamEndCapture(frame, stream: u64, out: Out<u64>) {
        out.check()?;
        out.put(streams::end_capture(frame, stream)?)
    }

    Context fn hipStreamIsCapturing(frame, stream: u64, out: Out<i32>) {
        out.check()?;
        out.put(streams::is_capturing(frame, stream)?.into())
    }

    Context fn hipGraphGetNodes(_, graph: u64, nodes: *mut u64, count: Out<usize>) {
        if !nodes.is_null() {
            return Err(Error::NOT_SUPPORTED); // they are counted, and that is all
        }
        count.put(streams::graph_nodes(graph)? as usize)
    }

    Context fn hipGraphDestroy(_, graph: u64) {
        streams::graph_destroy(graph)
    }

    Health fn hipEventCreate(frame, out: Out<u64>) {
        out.check()?;
        out.put(streams::event_create(frame, 0)?)
    }

    Health fn hipEventCreateWithFlags(frame, out: Out<u64>, flags: u32) {
        out.check()?;
        out.put(streams::event_create(frame, flags & !RELEASE)?)
    }

    Context fn hipEventDestroy(_, event: u64) {
        streams::event_destroy(event)
    }

    Context fn hipEventRecord(frame, event: u64, stream: u64) {
        streams::event_record(frame, event, stream)
    }

    Context fn hipEventQuery(_, event: u64) {
        streams::event_query(event)
    }

    Context fn hipEventSynchronize(frame, event: u64) {
        streams::event_synchronize(frame, event)
    }

    Context fn hipEventElapsedTime(_, out: Out<f32>, from: u64, to: u64) {
        out.check()?;
        out.put(streams::elapsed(from, to)?)
    }
}
