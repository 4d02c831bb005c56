//! Streams, events, host functions.

use core::ffi::c_void;

use hmmrt_double_core::argument::Out;
use hmmrt_double_core::{Error, entries, streams};

use crate::current;

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
    Health fn cuStreamCreate(frame, out: Out<u64>, flags: u32) {
        out.check()?;
        out.put(streams::create(frame, flags)?)
    }

    Health fn cuStreamCreateWithPriority(frame, out: Out<u64>, flags: u32, _priority: i32) {
        out.check()?;
        out.put(streams::create(frame, flags)?)
    }

    Context fn cuStreamDestroy_v2(_, stream: u64) {
        streams::destroy(stream)
    }

    Context fn cuStreamSynchronize(frame, stream: u64) {
        streams::synchronize(frame, stream)
    }

    Context fn cuStreamQuery(frame, stream: u64) {
        streams::query(frame, stream)
    }

    Context fn cuStreamWaitEvent(frame, stream: u64, event: u64, flags: u32) {
        streams::wait(frame, stream, event, flags)
    }

    Context fn cuStreamGetCtx(frame, stream: u64, out: Out<u64>) {
        let device = streams::stream(frame, stream)?.device;
        let own = current::top();
        // Streams know their device; it is the current context's or that device's primary one.
        let same = current::device_of(own)?.number == device.number;
        out.put(if same { own } else { current::primary(device).handle })
    }

    Context fn cuLaunchHostFunc(
        frame,
        stream: u64,
        function: Option<unsafe extern "C" fn(*mut c_void)>,
        data: *mut c_void,
    ) {
        let function = HostFunction(function.ok_or(Error::INVALID_VALUE)?, data);
        streams::host_function(frame, stream, move || function.call())
    }

    Context fn cuStreamBeginCapture_v2(frame, stream: u64, mode: i32) {
        streams::begin_capture(frame, stream, mode)
    }

    Context fn cuStreamEndCapture(frame, stream: u64, out: Out<u64>) {
        out.check()?;
        out.put(streams::end_capture(frame, stream)?)
    }

    Context fn cuStreamIsCapturing(frame, stream: u64, out: Out<i32>) {
        out.check()?;
        out.put(streams::is_capturing(frame, stream)?.into())
    }

    Context fn cuGraphGetNodes(_, graph: u64, nodes: *mut u64, count: Out<usize>) {
        if !nodes.is_null() {
            return Err(Error::NOT_SUPPORTED); // they are counted, and that is all
        }
        count.put(streams::graph_nodes(graph)? as usize)
    }

    Context fn cuGraphDestroy(_, graph: u64) {
        streams::graph_destroy(graph)
    }

    Health fn cuEventCreate(frame, out: Out<u64>, flags: u32) {
        out.check()?;
        out.put(streams::event_create(frame, flags)?)
    }

    Context fn cuEventDestroy_v2(_, event: u64) {
        streams::event_destroy(event)
    }

    Context fn cuEventRecord(frame, event: u64, stream: u64) {
        streams::event_record(frame, event, stream)
    }

    Context fn cuEventQuery(_, event: u64) {
        streams::event_query(event)
    }

    Context fn cuEventSynchronize(frame, event: u64) {
        streams::event_synchronize(frame, event)
    }

    Context fn cuEventElapsedTime(_, out: Out<f32>, from: u64, to: u64) {
        out.check()?;
        out.put(streams::elapsed(from, to)?)
    }

    Context fn cuEventElapsedTime_v2(_, out: Out<f32>, from: u64, to: u64) {
        out.check()?;
        out.put(streams::elapsed(from, to)?)
    }
}
