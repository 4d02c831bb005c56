//! Which file a program's name stands for, as a shell finds it: a name with a slash is a path, others are looked for in
//! the folders of PATH.

use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND};
use crate::os;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is searched where PATH is not set, as by execvp.
const NO_PATH: &str = "/bin:/usr/bin";

/// The program's file. `path` is PATH.
pub fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    let fail = |status, why: &str| Err(Failure::new(status, format!("{}: {why}", Path::new(name).display())));
    if name.as_bytes().contains(&b'/') {
        return match look(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(error) if is_missing(&error) => fail(NOT_FOUND, "no such file"),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fail(NOT_EXECUTABLE, "is a folder"),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fail(NOT_EXECUTABLE, "permission denied")
            }
            Err(error) => fail(NOT_EXECUTABLE, &error.to_string()),
        };
    }
    let mut denied = None;
    if !name.is_empty() {
        for folder in std::env::split_paths(path.unwrap_or(NO_PATH.as_ref())) {
            // An empty folder is the current one; without a slash it would be looked for once more.
            let file = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder }.join(name);
            match look(&file) {
                Ok(()) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    denied.get_or_insert(file);
                }
                Err(_) => {}
            }
        }
    }
    match denied {
        Some(file) => Err(Failure::new(NOT_EXECUTABLE, format!("{}: permission denied", file.display()))),
        None => fail(NOT_FOUND, "program not found"),
    }
}

/// Whether there is a file that may be executed.
fn look(file: &Path) -> io::Result<()> {
    if std::fs::metadata(file)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    match os::may_execute(file) {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Nothing is there at all.
pub fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
