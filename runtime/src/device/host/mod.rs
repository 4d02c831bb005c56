//! The host backend: a stand-in device that is always there. Its memory is a mapping of its own with a size limit, its
//! streams are threads, its kernels host functions. Copies can be given a bandwidth and a latency, and any call can be
//! told to fail. Copies are made by the calling thread, so the fault handler can be served directly.

pub mod inject;
pub(crate) mod kernels;
mod memory;
mod stream;

use super::{Args, Device, DeviceInfo, MAX_DEVICES, NativeKernel, NativeModule, NativeStream, Run};
use crate::addr::{ByteRange, CHUNK, DeviceAddr};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::launch::LaunchConfig;
use crate::room;
use crate::stream::Timeline;
use crate::sys::signal::Blocked;
use core::ffi::c_void;
use inject::Call;
use memory::Memory;
use std::sync::{Arc, Mutex, MutexGuard};
use stream::{Task, Worker};

struct HostDevice {
    number: i32,
    memory: Memory,
    direct: bool,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    next: NativeStream,
    /// In no order.
    live: Vec<(NativeStream, Arc<Worker>)>,
}

impl Streams {
    fn place(&self, stream: NativeStream) -> Option<usize> {
        self.live.iter().position(|(number, _)| *number == stream)
    }
    fn get(&self, stream: NativeStream) -> Option<Arc<Worker>> {
        self.place(stream).map(|at| self.live[at].1.clone())
    }
}

/// Opens the configured number of devices.
pub(crate) fn open(config: &Config) -> Result<Vec<Box<dyn Device>>> {
    inject::arm(&config.host_fail)?;
    let count = config.host_devices.clamp(1, MAX_DEVICES);
    let limit = if config.host_memory == 0 { memory::default_limit() } else { config.host_memory };
    Ok((0..count as i32)
        .map(|number| {
            Box::new(HostDevice {
                number,
                memory: Memory::new(number, limit, config.host_bandwidth, config.host_latency_ns),
                direct: config.host_direct,
                streams: Mutex::default(),
            }) as Box<dyn Device>
        })
        .collect())
}

impl HostDevice {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Them, with room for one more.
    fn streams_with_room(&self) -> MutexGuard<'_, Streams> {
        room::for_one_more(|| self.streams(), |streams| &mut streams.live)
    }

    fn worker(&self, stream: NativeStream) -> Result<Arc<Worker>> {
        let found = self.streams().get(stream);
        if found.is_none() && stream == 0 {
            let worker = Worker::start(self.number)?;
            let mut streams = self.streams_with_room();
            // Another thread may have been here first.
            let Some(first) = streams.get(0) else {
                streams.live.push((0, worker.clone()));
                return Ok(worker);
            };
            drop(streams);
            worker.stop();
            return Ok(first);
        }
        found.ok_or(Error::BadHandle { arg: "stream", value: stream })
    }

    fn push(&self, stream: NativeStream, task: Task) -> Result<()> {
        let pushed = self.worker(stream)?.push(task);
        if pushed { Ok(()) } else { Err(Error::BadHandle { arg: "stream", value: stream }) }
    }
}

/// Where the addresses of a kernel's arguments will be: filled by the stream's thread.
struct Room(Vec<*mut core::ffi::c_void>);

// SAFETY: empty until the stream's thread has it.
unsafe impl Send for Room {}

impl Device for HostDevice {
    fn name(&self) -> String {
        format!("host device {} (a stand-in: device memory in host RAM)", self.number)
    }
    fn backend(&self) -> &'static str {
        "host"
    }
    fn info(&self) -> DeviceInfo {
        let (total, free) = self.memory.size();
        DeviceInfo {
            name: self.name(),
            backend: self.backend(),
            memory_total: total as u64,
            memory_free: free as u64,
            same_address: false,
        }
    }
    fn memory_total(&self) -> u64 {
        self.memory.size().0 as u64
    }
    fn memory_free(&self) -> u64 {
        self.memory.size().1 as u64
    }

    fn reserve(&self, host: ByteRange) -> Result<DeviceAddr> {
        inject::call(self.number, Call::Reserve)?;
        self.memory.reserve(host.len())
    }
    fn unreserve(&self, at: DeviceAddr) {
        self.memory.unreserve(at);
    }
    fn number(&self) -> i32 {
        self.number
    }
    fn commit(&self, at: DeviceAddr, _before: usize, _after: usize) -> Result<()> {
        inject::call(self.number, Call::Commit)?;
        self.memory.commit(at, CHUNK)
    }
    fn decommit(&self, at: DeviceAddr) {
        self.memory.decommit(at, CHUNK);
    }
    fn clear(&self, parts: &mut dyn Iterator<Item = (DeviceAddr, usize)>) -> Result<()> {
        for (at, len) in parts {
            inject::call(self.number, Call::Clear)?;
            self.memory.clear(at, len);
        }
        Ok(())
    }
    fn copy_in(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()> {
        for run in runs {
            inject::call(self.number, Call::CopyIn)?;
            self.memory.copy(Memory::host(run.device), run.host, run.len);
        }
        Ok(())
    }
    fn copy_out(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()> {
        for run in runs {
            inject::call(self.number, Call::CopyOut)?;
            self.memory.copy(run.host, Memory::host(run.device), run.len);
        }
        Ok(())
    }
    fn copy_peer(&self, to: DeviceAddr, _source: &dyn Device, from: DeviceAddr, len: usize) -> Result<()> {
        inject::call(self.number, Call::CopyPeer)?;
        self.memory.copy(Memory::host(to), Memory::host(from), len);
        Ok(())
    }
    fn serves_faults_directly(&self) -> bool {
        self.direct
    }

    fn stream_create(&self) -> Result<NativeStream> {
        inject::call(self.number, Call::Stream)?;
        let worker = Worker::start(self.number)?;
        // A handler that waits for a launch must not find this thread with what that needs.
        let _blocked = Blocked::new();
        let mut streams = self.streams_with_room();
        streams.next += 1;
        let stream = streams.next;
        streams.live.push((stream, worker));
        Ok(stream)
    }
    unsafe fn stream_adopt(&self, _native: *mut c_void) -> Result<NativeStream> {
        Err(Error::Unsupported {
            what: "hmm_stream_from_native",
            why: "the host backend has no native streams",
        })
    }
    fn stream_destroy(&self, stream: NativeStream) {
        let worker = {
            let _blocked = Blocked::new();
            let mut streams = self.streams();
            streams.place(stream).map(|at| streams.live.swap_remove(at))
        };
        if let Some((_, worker)) = worker {
            worker.stop();
        }
    }
    fn signal(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()> {
        inject::call(self.number, Call::Signal)?;
        let worker = self.streams().get(stream);
        match worker {
            Some(worker) if worker.signal(timeline, ticket) => {}
            None if stream == 0 => timeline.reach(ticket), // the default stream was never used: nothing to wait for
            _ => return Err(Error::BadHandle { arg: "stream", value: stream }),
        }
        Ok(())
    }
    fn wait(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()> {
        inject::call(self.number, Call::Wait)?;
        self.push(stream, Task::Wait(timeline, ticket))
    }
    fn callback(&self, stream: NativeStream, task: Box<dyn FnOnce() + Send>) -> Result<()> {
        inject::call(self.number, Call::Callback)?;
        // A handler that waits for this stream must not find this thread with its queue.
        let _blocked = Blocked::new();
        let mut task = Some(task);
        let work = move || task.take().into_iter().for_each(|task| task());
        self.push(stream, Task::Run(Box::new(work)))
    }

    fn runs_host_functions(&self) -> bool {
        true
    }
    unsafe fn module_load(&self, _image: &[u8]) -> Result<NativeModule> {
        Err(Error::Unsupported {
            what: "hmm_module_load",
            why: "the host backend runs host functions: use hmm_kernel_from_function or hmm_module_builtin",
        })
    }
    fn module_function(&self, _module: NativeModule, _name: &str) -> Result<Option<NativeKernel>> {
        Ok(None)
    }
    fn builtin(&self, name: &str) -> Result<Option<NativeKernel>> {
        let found = kernels::BUILTIN.iter().find(|k| k.name == name);
        Ok(found.map(|k| NativeKernel::Host(k.function)))
    }
    fn launch(
        &self,
        stream: NativeStream,
        kernel: NativeKernel,
        config: &LaunchConfig,
        mut args: Args,
    ) -> Result<()> {
        inject::call(self.number, Call::Launch)?;
        let NativeKernel::Host(function) = kernel else {
            return Err(Error::Unsupported { what: "kernel", why: "it is another backend's" });
        };
        let (config, memory) = (*config, self.memory.delay());
        let mut room = Room(Vec::with_capacity(args.count()));
        self.push(
            stream,
            Task::Run(Box::new(move || {
                memory.wait(0);
                let Room(pointers) = &mut room;
                args.pointers_in(pointers);
                // SAFETY: whoever made the kernel promised that the function fits these arguments; the values live
                // until the call returns, and the memory it may touch was acquired before.
                unsafe { function(&config, pointers.as_ptr()) };
            })),
        )
    }
    fn close(&self) {
        let workers = core::mem::take(&mut self.streams().live);
        workers.into_iter().for_each(|(_, worker)| worker.stop());
        self.memory.close();
    }
}
