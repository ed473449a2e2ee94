//! The binary with a key, and how it says what is wrong.

use super::{Ended, Serving, gateloop, run};

pub const KEY: &str = "a key of sixteen bytes or more";
pub const FREE_PORT: &str = "127.0.0.1:0";

/// Runs `gateloop` with these arguments, and the key in its environment.
pub fn gateloop_with_key(args: &[&str]) -> Ended {
    run(gateloop().args(args).env("GATELOOP_AUTHKEY", KEY))
}

pub fn serving_with_key(args: &[&str]) -> Serving {
    let mut command = gateloop();
    command
        .args(["serve", "--listen", FREE_PORT])
        .args(args)
        .env("GATELOOP_AUTHKEY", KEY);
    Serving::from_command(&mut command)
}

/// That it ended with this code, wrote nothing to standard output, and said why in one line.
#[track_caller]
pub fn assert_error(ended: &Ended, code: i32, why: &str) {
    let lines: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "not one line: {ended:?}");
    assert!(lines[0].contains(why), "`{why}` is missing: {ended:?}");
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "");
}
