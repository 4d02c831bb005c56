//! Why nothing could be preloaded into a program, found out before it is started: it would run without managed memory,
//! and in most cases without a word.

use crate::failure::{Failure, NOT_EXECUTABLE};
use crate::image::{Elf, Image};
use crate::{lookup, os, privilege};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What runs texts without a `#!` line.
pub const SHELL: &str = "/bin/sh";

/// The kernel follows no more `#!` lines than this.
const SCRIPTS: usize = 5;

/// What is in the way, in a sentence, if anything is. An interpreter that is missing is an error.
pub fn of(program: &Path) -> Result<Option<String>, Failure> {
    let mut file = program.to_owned();
    let mut run_by = String::new();
    for _ in 0..SCRIPTS {
        // What can't be read can be executed all the same.
        let image = Image::of(&file).unwrap_or(Image::Unknown);
        file = match image {
            Image::Script(interpreter) => interpreter,
            Image::Text => SHELL.into(),
            Image::Elf(elf) => return Ok(in_elf(&file, &elf).map(|why| run_by + &why)),
            Image::Unknown => return Ok(in_rights(&file).map(|why| run_by + &why)),
        };
        if fs::metadata(&file).is_err_and(|error| lookup::is_missing(&error)) {
            let why = format!("{}: its interpreter {} is not there", program.display(), file.display());
            return Err(Failure::new(NOT_EXECUTABLE, why));
        }
        run_by = format!("{} is a script, and ", program.display());
    }
    Ok(None)
}

/// Whether a shell would run the file as a script of its own.
pub fn is_text(file: &Path) -> bool {
    matches!(Image::of(file), Ok(Image::Text))
}

fn in_elf(file: &Path, elf: &Elf) -> Option<String> {
    let own = Image::own().ok()?;
    let name = file.display();
    if elf.target != own.target {
        return Some(format!("{name} has {}, and the preload library {}", elf.target, own.target));
    }
    match &elf.loader {
        // The loader itself, started with a program as its argument, does preload.
        None if same(file, own.loader.as_deref()) => {}
        None => {
            return Some(format!("{name} is a static program: it has no loader that could preload anything"));
        }
        Some(loader) if is_musl(loader) => {
            return Some(format!("{name} uses the C library musl, and the preload library glibc"));
        }
        Some(_) => {}
    }
    in_rights(file)
}

fn in_rights(file: &Path) -> Option<String> {
    let data = fs::metadata(file).ok()?;
    let rights = privilege::File {
        mode: data.mode(),
        owner: data.uid(),
        group: data.gid(),
        capabilities: os::has_capabilities(file),
        powerless: os::is_powerless(file),
    };
    let why = privilege::gain(&rights, &os::caller())?;
    Some(format!("{} {why}: the loader preloads nothing into it", file.display()))
}

fn same(file: &Path, loader: Option<&Path>) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { fs::canonicalize(path).ok() };
    loader.and_then(real).is_some_and(|loader| real(file) == Some(loader))
}

fn is_musl(loader: &Path) -> bool {
    loader.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-musl"))
}
