//! The Pythons of this machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Python 3 that is installed: those of pyenv, and the one of the system.
pub fn installed() -> Vec<PathBuf> {
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let mut programs = pyenv.map_or_else(Vec::new, |root| programs_in(&root.join("versions")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    programs.extend(
        std::env::split_paths(&path)
            .map(|folder| folder.join("python3"))
            .find(|program| program.exists()),
    );
    assert!(
        !programs.is_empty(),
        "no Python 3 is installed: run tests/run"
    );
    programs
}

/// The programs `NAME/bin/python` in a folder whose names begin as versions of Python 3 do.
pub fn programs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let entries = entries.map(|entry| entry.expect("a folder that can be listed"));
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"3."))
        .map(|entry| entry.path().join("bin/python"))
        .filter(|program| program.exists())
        .collect()
}
