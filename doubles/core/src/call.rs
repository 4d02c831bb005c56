//! The way into the driver: every exported function goes through [`enter`]. It counts, injects, asks what became of the
//! process and the device, takes the driver's lock, and keeps panics from the C caller.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;

use crate::device::{self, Device};
use crate::inject::{self, Counter, Fate};
use crate::stream::{Body, Point, Stream};
use crate::{Error, Result, lock, process};

/// What a function needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing; it can't fail by injection either.
    Nothing,
    /// It is init.
    Process,
    /// Init.
    Init,
    /// A current context.
    Context,
    /// A current context of a device that is well.
    Health,
}

/// A call on its way.
pub struct Frame {
    device: Option<&'static Device>,
    lock: RefCell<Option<MutexGuard<'static, ()>>>,
    lose_later: Cell<bool>,
}

thread_local! {
    /// This thread runs a host function of the program, which may not call the driver.
    static CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs a host function of the program.
pub fn call_back(function: impl FnOnce()) {
    CALLBACK.set(true);
    function();
    CALLBACK.set(false);
}

/// Makes a call; `ready` says whether calls are possible, `current` which device is the calling thread's.
pub fn enter(
    counter: &'static Counter,
    needs: Needs,
    ready: impl FnOnce() -> Result,
    current: impl FnOnce() -> Result<&'static Device>,
    body: impl FnOnce(&Frame) -> Result,
) -> Result {
    let all = || {
        if needs == Needs::Nothing {
            counter.count();
            let frame = Frame { device: None, lock: RefCell::new(None), lose_later: Cell::new(false) };
            return body(&frame);
        }
        // Before any lock: in a forked child somebody else may hold it for ever.
        if process::forked() {
            return Err(Error::NOT_INITIALIZED);
        }
        if CALLBACK.get() {
            return Err(Error::NOT_PERMITTED);
        }
        let fate = counter.count();
        if needs != Needs::Process {
            ready()?;
        }
        let device = current();
        if matches!(needs, Needs::Context | Needs::Health) {
            device?;
        }
        let device = device.ok();
        match fate {
            Fate::Fail(error) => return Err(error),
            Fate::Lose => {
                device.or(device::all().first()).into_iter().for_each(Device::lose);
                return Err(Error::LAUNCH_FAILED);
            }
            Fate::Stick => inject::stick(),
            Fate::LoseLater | Fate::Usual => {}
        }
        if needs == Needs::Health {
            device.map_or(Ok(()), Device::check)?;
        }
        let frame = Frame {
            device,
            lock: RefCell::new(Some(lock::take())),
            lose_later: Cell::new(fate == Fate::LoseLater),
        };
        let result = body(&frame);
        if result.is_ok() && frame.lose_later.get() {
            device.or(device::all().first()).into_iter().for_each(Device::lose);
        }
        result
    };
    catch_unwind(AssertUnwindSafe(all)).unwrap_or(Err(Error::UNKNOWN))
}

impl Frame {
    /// The current device.
    pub fn device(&self) -> Result<&'static Device> {
        self.device.ok_or(Error::INVALID_CONTEXT)
    }

    /// Lets go of the driver's lock: before every wait.
    pub fn unlock(&self) {
        self.lock.replace(None);
    }

    /// Takes the lock again.
    pub fn relock(&self) {
        if self.lock.borrow().is_none() {
            self.lock.replace(Some(lock::take()));
        }
    }

    /// Puts work into a stream, or in its place the loss of the device, if that is to be injected.
    pub fn submit(&self, stream: &std::sync::Arc<Stream>, after: Option<Point>, body: Body) -> Result<Point> {
        stream.device.check()?;
        let body = self.loss(stream.device).unwrap_or(body);
        stream.submit(after, body)
    }

    /// The loss of the device as work, if it is to be injected; once.
    pub fn loss(&self, device: &'static Device) -> Option<Body> {
        self.lose_later.take().then(|| -> Body {
            Box::new(move || {
                device.lose();
                Err(Error::LAUNCH_FAILED)
            })
        })
    }
}
