//! `hmmrt info`: what this machine has to offer, what the settings choose of it, and what is in the way. Collected into
//! one structure, whose fields are the JSON's; `text` shows the same to people.

mod advice;
mod backends;
mod engines;
mod limits;
mod text;
mod userfaultfd;

use crate::failure::Failure;
use crate::library;
use backends::Backends;
use engines::Engines;
use hmmrt::Config;
use limits::Limits;
use serde::Serialize;
use std::path::PathBuf;
use userfaultfd::Userfaultfd;

/// All of it.
#[derive(Serialize)]
struct Info {
    /// The library's version.
    version: &'static str,
    /// The kernel's release.
    kernel: String,
    backend: Backends,
    fault: Engines,
    userfaultfd: Userfaultfd,
    limits: Limits,
    preload: Preload,
    /// What to change, in sentences.
    advice: Vec<String>,
}

/// The preload library: where it is, or why there is none.
#[derive(Serialize)]
struct Preload {
    library: Option<PathBuf>,
    error: Option<String>,
}

/// The report, as text or JSON.
pub fn report(json: bool) -> Result<Vec<u8>, Failure> {
    let config = Config::from_env().map_err(|error| Failure::general(error.to_string()))?;
    let info = Info::new(&config);
    if !json {
        return Ok(text::of(&info).into_bytes());
    }
    let mut bytes = serde_json::to_vec_pretty(&info).map_err(|error| Failure::general(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl Info {
    fn new(config: &Config) -> Info {
        let userfaultfd = Userfaultfd::new();
        let limits = Limits::new(config);
        let (library, error) = match library::find(None) {
            Ok(path) => (Some(path), None),
            Err(why) => (None, Some(why)),
        };
        Info {
            version: hmmrt::version(),
            kernel: limits::line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into()),
            backend: Backends::new(config),
            fault: Engines::new(config, &userfaultfd),
            preload: Preload { library, error },
            advice: advice::of(&limits),
            userfaultfd,
            limits,
        }
    }
}
