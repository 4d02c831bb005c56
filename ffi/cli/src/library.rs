//! The preload library: where it is, and its place in LD_PRELOAD.

use crate::image::{Elf, Image};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Its file.
pub const NAME: &str = "libhmmrt_preload.so";
/// Where it is, if not beside this command.
pub const VARIABLE: &str = "HMMRT_PRELOAD_LIBRARY";

/// Where it is looked for, from this command's folder: in an installed prefix, in a distribution's, in cargo's.
pub fn places() -> [String; 4] {
    let multiarch = format!("../lib/{}-linux-gnu", env::consts::ARCH);
    ["../lib".into(), multiarch, "../lib64".into(), ".".into()]
}

/// The library: the one given, else the environment's, else the one that came with this command. An absolute path.
pub fn find(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return checked(path).map_err(|why| format!("--preload {}: {why}", path.display()));
    }
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = Path::new(&path);
        return checked(path).map_err(|why| format!("{VARIABLE}={}: {why}", path.display()));
    }
    let own = env::current_exe().map_err(|error| format!("cannot find this command's own file: {error}"))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let found = places().into_iter().map(|place| folder.join(place).join(NAME)).find(|path| path.exists());
    match found {
        Some(path) => checked(&path).map_err(|why| format!("{}: {why}", path.display())),
        None => Err(format!(
            "{NAME} is not beside this command (looked in {} of {}): give its path with --preload or {VARIABLE}",
            places().join(", "),
            folder.display()
        )),
    }
}

/// The path as LD_PRELOAD can have it, if a program can load the library.
fn checked(path: &Path) -> Result<PathBuf, String> {
    let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
    match (Image::of(&real), Image::own()) {
        (Ok(Image::Elf(Elf { target, .. })), Ok(own)) if target == own.target => {}
        (Ok(Image::Elf(Elf { target, .. })), Ok(own)) => {
            return Err(format!("has {target}, not {}", own.target));
        }
        (Err(error), _) | (_, Err(error)) => return Err(error.to_string()),
        _ => return Err("is not a shared library".into()),
    }
    // The loader knows no way to quote what separates names or starts a variable of its own.
    match real.as_os_str().as_bytes().iter().any(|b| b" :;$".contains(b)) {
        true => Err("LD_PRELOAD can't hold a path with a space, a colon, a semicolon or a $".into()),
        false => Ok(real),
    }
}

/// LD_PRELOAD with the library as the first, and once; what else is in it stays, in order.
pub fn first(library: &Path, preloaded: Option<&OsStr>) -> OsString {
    let library = library.as_os_str().as_bytes();
    let names = preloaded.unwrap_or_default().as_bytes().split(|b| matches!(b, b' ' | b':'));
    let others = names.filter(|name| !name.is_empty() && *name != library);
    let list: Vec<&[u8]> = std::iter::once(library).chain(others).collect();
    OsString::from_vec(list.join(&b':'))
}

#[cfg(test)]
mod tests {
    use super::first;
    use std::path::Path;

    #[test]
    fn it_is_the_first_and_the_others_stay() {
        for (before, after) in [
            (None, "/l/p.so"),
            (Some(""), "/l/p.so"),
            (Some("/a.so"), "/l/p.so:/a.so"),
            (Some("b.so /a.so"), "/l/p.so:b.so:/a.so"),
            (Some("/a.so:/l/p.so:c.so"), "/l/p.so:/a.so:c.so"),
        ] {
            assert_eq!(first(Path::new("/l/p.so"), before.map(str::as_ref)), after);
        }
    }
}
