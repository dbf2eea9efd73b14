//! Files, as the standard library has them and straight through `wasi:filesystem`, where the library would not ask.

use crate::{number, show};
use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

/// Octets that are written at once.
const CHUNK_OCTETS: usize = 64 * 1024;

thread_local! {
    /// Files that outlive their call, where the instance does.
    static KEPT: RefCell<Vec<File>> = const { RefCell::new(Vec::new()) };
}

/// Plays one line of the script, if it is one of these.
pub(crate) fn play(name: &str, arguments: &[&str]) -> Option<String> {
    let path = arguments.first().copied().unwrap_or_default();
    let other = arguments.get(1).copied().unwrap_or_default();
    match name {
        "env" => show(std::env::var(path).ok()),
        "machine-time" => show(fs::metadata(path).and_then(|facts| facts.modified()).is_ok()),
        "file-read" => told(fs::read_to_string(path)),
        "file-write" => told(fs::write(path, other)),
        "file-append" => told((|| OpenOptions::new().append(true).open(path)?.write_all(other.as_bytes()))()),
        "file-durable" => told((|| {
            let mut file = File::create(path)?;
            file.write_all(other.as_bytes())?;
            file.sync_all()?;
            fs::rename(path, format!("{path}.done"))
        })()),
        "file-fill" => Some(fill(path, number(arguments, 1))),
        "file-drain" => told(drain(path)),
        "file-many" => {
            show((0..number::<usize>(arguments, 1)).filter(|n| fs::write(format!("{path}/{n}"), "").is_ok()).count())
        }
        "file-hold" => {
            let held: Vec<_> = (0..number(arguments, 1)).map_while(|_| File::open(path).ok()).collect();
            show(held.len())
        }
        "file-keep" => told(File::create(path).map(|file| KEPT.with_borrow_mut(|kept| kept.push(file)))),
        "file-use-kept" => told(KEPT.with_borrow_mut(|kept| kept[0].write_all(path.as_bytes()))),
        "file-grow" => {
            told(OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(number(arguments, 1))))
        }
        "file-list" => {
            told(fs::read_dir(path).map(|names| names.take(number(arguments, 1)).filter(Result::is_ok).count()))
        }
        "file-make" => told(fs::create_dir(path)),
        "file-remove" => told(fs::remove_file(path)),
        "file-rename" => told(fs::rename(path, other)),
        "file-link" => told(fs::hard_link(path, other)),
        "file-sizes" => told(fs::metadata(path).map(|facts| (facts.is_dir(), facts.len()))),
        "raw-open" => Some(raw(|dir| {
            dir.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ).map(drop)
        })),
        "raw-create" => Some(raw(|dir| {
            dir.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::CREATE, DescriptorFlags::WRITE).map(drop)
        })),
        "raw-symlink" => Some(raw(|dir| dir.symlink_at(path, other))),
        "raw-link" => Some(raw(|dir| dir.link_at(PathFlags::empty(), path, dir, other))),
        "raw-rename" => Some(raw(|dir| dir.rename_at(path, dir, other))),
        "raw-make" => Some(raw(|dir| dir.create_directory_at(path))),
        "raw-stat" => Some(raw(|dir| dir.stat_at(PathFlags::SYMLINK_FOLLOW, path).map(drop))),
        "raw-dirs" => show(get_directories().len()),
        _ => None,
    }
}

fn told<T: std::fmt::Debug>(answer: io::Result<T>) -> Option<String> {
    Some(match answer {
        Ok(value) => format!("ok {value:?}"),
        Err(error) => format!("failed {:?}", error.kind()),
    })
}

/// In the first directory that there is.
fn raw<T: std::fmt::Debug>(
    operate: impl FnOnce(&wasip2::filesystem::types::Descriptor) -> Result<T, wasip2::filesystem::types::ErrorCode>,
) -> String {
    let directories = get_directories();
    let Some((dir, _)) = directories.first() else { return "no directory".to_owned() };
    match operate(dir) {
        Ok(value) => format!("ok {value:?}"),
        Err(code) => format!("failed {code:?}"),
    }
}

/// How much could be written, and what ended it.
fn fill(path: &str, octets: usize) -> String {
    let chunk = vec![b'x'; CHUNK_OCTETS];
    let mut written = 0;
    let why = (|| {
        let mut file = File::create(path)?;
        while written < octets {
            let count = file.write(&chunk[..CHUNK_OCTETS.min(octets - written)])?;
            written += count;
        }
        Ok::<_, io::Error>(())
    })();
    match why {
        Ok(()) => format!("ok {written}"),
        Err(error) => format!("failed {:?} after {written}", error.kind()),
    }
}

fn drain(path: &str) -> io::Result<usize> {
    let (mut file, mut chunk, mut octets) = (File::open(path)?, vec![0; CHUNK_OCTETS], 0);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(octets),
            count => octets += count,
        }
    }
}
