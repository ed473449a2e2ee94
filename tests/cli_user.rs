//! `gateloop user`, as it is typed: passwords from a pipe and from a terminal, errors, exit codes.

#![cfg(feature = "cli")]

mod util;

use std::fs;
use std::io::{self, Write};
use std::process::Command;

use gateloop::limits::{PASSWORD_BYTES_MAX, USER_NAME_BYTES_MAX};
use util::cli::assert_error;
use util::users::md5_line;
use util::{Ended, Folder, gateloop, run};

/// Runs `gateloop user` with this on standard input.
fn user(args: &[&str], stdin: impl AsRef<[u8]>) -> Ended {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // There is room for it in the pipe, whether or not it will be read.
    writer.write_all(stdin.as_ref()).expect("a pipe");
    drop(writer);
    run(gateloop().arg("user").args(args).stdin(reader))
}

/// One that takes a password from a pipe.
fn with_password(action: &str, file: &str, name: &str, password: impl AsRef<[u8]>) -> Ended {
    let args = [action, "--file", file, "--password-stdin", "--", name];
    user(&args, password)
}

#[track_caller]
fn assert_done(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""));
}

fn list(file: &str) -> String {
    let ended = run(gateloop().args(["user", "list", "--file", file]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

#[test]
fn a_user_comes_changes_and_goes() {
    let folder = Folder::new("cli-user");
    let path = folder.path("users");
    let file = path.to_str().expect("a path in UTF-8");
    assert_done(&with_password("add", file, "旭哥", "123\n"));
    assert_done(&with_password("check", file, "旭哥", "123"));
    assert_error(
        &with_password("check", file, "旭哥", "124"),
        1,
        "wrong password",
    );
    assert_error(
        &with_password("check", file, "nobody", "123"),
        1,
        "no user of this name",
    );

    assert_error(&with_password("add", file, "旭哥", "x"), 1, "already");
    assert_done(&with_password("passwd", file, "旭哥", "天王盖地虎"));
    assert_done(&with_password("check", file, "旭哥", "天王盖地虎\r\n"));
    assert_error(
        &with_password("check", file, "旭哥", "123"),
        1,
        "wrong password",
    );
    assert_error(
        &with_password("passwd", file, "nobody", "x"),
        1,
        "no user of this name",
    );

    let content = fs::read_to_string(file).expect("a file") + &md5_line("a|b", "x");
    fs::write(file, content).expect("a file");
    assert_done(&with_password("check", file, "a|b", "x"));
    assert_eq!(list(file), "a|b | md5\n旭哥 | argon2id m=19456,t=2,p=1\n");

    assert_done(&user(&["remove", "--file", file, "旭哥"], ""));
    assert_error(
        &user(&["remove", "--file", file, "旭哥"], ""),
        1,
        "no user of this name",
    );
    assert_eq!(list(file), "a|b | md5\n");
}

#[test]
fn one_newline_is_dropped_and_nothing_else() {
    let folder = Folder::new("cli-user-newline");
    let path = folder.path("users");
    let file = path.to_str().expect("a path in UTF-8");
    assert_done(&with_password("add", file, "alice", " a\n\n"));
    assert_done(&with_password("check", file, "alice", " a\n\n"));
    assert_done(&with_password("check", file, "alice", " a\n\r\n"));
    for wrong in [" a", " a\n", "a\n\n", " a\n\n\n"] {
        assert_error(
            &with_password("check", file, "alice", wrong),
            1,
            "wrong password",
        );
    }
}

#[test]
fn names_that_would_break_the_file_are_wrong_usage() {
    let folder = Folder::new("cli-user-names");
    let path = folder.path("users");
    let file = path.to_str().expect("a path in UTF-8");
    let long = "n".repeat(USER_NAME_BYTES_MAX + 1);
    for (name, why) in [
        ("", "the name is empty"),
        (" ", "the name is empty"),
        (" alice", "white space"),
        ("alice\t", "white space"),
        ("alice\u{3000}", "white space"),
        ("#alice", "comment"),
        ("ali\nce", "control character"),
        ("ali\u{7f}ce", "control character"),
        ("\u{feff}alice", "control character"),
        (&long, "longer than"),
    ] {
        assert_error(&with_password("add", file, name, "x"), 2, why);
    }
    assert!(!path.exists());
    for name in [&long[1..], "-", "--file", "|", "a#"] {
        assert_done(&with_password("add", file, name, "x"));
        assert_done(&with_password("check", file, name, "x"));
    }
}

#[test]
fn passwords_that_cannot_be_are_wrong_usage() {
    let folder = Folder::new("cli-user-passwords");
    let path = folder.path("users");
    let file = path.to_str().expect("a path in UTF-8");
    let longest = "p".repeat(PASSWORD_BYTES_MAX);
    assert_done(&with_password("add", file, "alice", format!("{longest}\n")));
    assert_done(&with_password("check", file, "alice", &longest));
    let longer = longest + "p";
    for (password, code, why) in [
        (&b""[..], 2, "the password is empty"),
        (b"\n", 2, "the password is empty"),
        (longer.as_bytes(), 2, "longer than"),
        (b"\xff", 1, "UTF-8"),
    ] {
        assert_error(&with_password("add", file, "bob", password), code, why);
    }
    assert_error(
        &with_password("check", file, "alice", longer),
        1,
        "wrong password",
    );
}

#[test]
fn errors_name_the_file_and_the_line() {
    let folder = Folder::new("cli-user-errors");
    let file = folder.write("users", md5_line("alice", "a") + &md5_line("alice", "b"));
    let why = format!("{file}: line 2: the same name as in line 1");
    for args in [
        &["list", "--file", &file][..],
        &["remove", "--file", &file, "alice"],
        &["check", "--file", &file, "alice", "--password-stdin"],
        &["add", "--file", &file, "bob", "--password-stdin"],
    ] {
        assert_error(&user(args, "x"), 1, &why);
    }
    let missing = folder.path("missing");
    let missing = missing.to_str().expect("a path in UTF-8");
    for action in ["list", "remove", "check", "passwd"] {
        let mut args = vec![action, "--file", missing];
        args.extend((action != "list").then_some("alice"));
        args.extend(
            ["check", "passwd"]
                .contains(&action)
                .then_some("--password-stdin"),
        );
        assert_error(&user(&args, "x"), 1, &format!("{missing}: No such file"));
    }
    let folder = format!("{missing}/users");
    assert_error(
        &with_password("add", &folder, "alice", "x"),
        1,
        "No such file",
    );
    for args in [
        &["add", "--file", missing][..],
        &["add", "alice"],
        &["list"],
    ] {
        assert_error(&user(args, ""), 2, "required arguments were not provided");
    }
}

/// Types the lines of its third argument, each when it is asked for and nothing is shown any more;
/// prints what the terminal showed, and the exit code.
const TYPIST: &str = r#"
import json, os, pty, sys, termios, time
lines = json.loads(sys.argv[2])
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:2] + json.loads(sys.argv[3]))
shown = b""
def look():
    global shown
    try:
        part = os.read(terminal, 4096)
    except OSError:
        return False
    shown += part
    return bool(part)
for prompt, line in lines:
    while not shown.endswith(prompt.encode()) and look():
        pass
    while termios.tcgetattr(terminal)[3] & termios.ECHO:
        time.sleep(0.005)
    os.write(terminal, line.encode())
while look():
    pass
print(json.dumps([shown.decode(), os.waitpid(pid, 0)[1] >> 8]))
"#;

/// What the terminal showed, and the exit code.
fn typed(args: &[&str], lines: &[(&str, &str)]) -> (String, i32) {
    let lines = serde_json::to_string(lines).expect("JSON");
    let args = serde_json::to_string(args).expect("JSON");
    let program = env!("CARGO_BIN_EXE_gateloop");
    let ended = run(Command::new("python3").args(["-c", TYPIST, program, &lines, &args]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[test]
fn a_terminal_is_asked_and_does_not_show_what_is_typed() {
    let folder = Folder::new("cli-user-terminal");
    let path = folder.path("users");
    let file = path.to_str().expect("a path in UTF-8");
    let add = ["user", "add", "--file", file, "alice"];
    let check = ["user", "check", "--file", file, "alice"];

    let twice = [("Password: ", "secret é\n"), ("Again: ", "secret e\n")];
    let (shown, code) = typed(&add, &twice);
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("the two passwords differ"), "{shown}");
    assert!(!path.exists());

    let twice = [("Password: ", "secret é\n"), ("Again: ", "secret é\n")];
    let (shown, code) = typed(&add, &twice);
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(typed(&check, &[("Password: ", "secret é\n")]).1, 0);
    let (shown, code) = typed(&check, &[("Password: ", "sesame\n")]);
    assert_eq!(code, 1, "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
}

#[test]
fn without_a_terminal_and_without_a_pipe_it_says_what_to_do() {
    let folder = Folder::new("cli-user-no-terminal");
    let path = folder.path("users");
    let file = path.to_str().expect("a path in UTF-8");
    // A session of its own has no terminal.
    let program = env!("CARGO_BIN_EXE_gateloop");
    let args = [program, "user", "add", "--file", file, "alice"];
    assert_error(
        &run(Command::new("setsid").arg("--wait").args(args)),
        1,
        "--password-stdin",
    );
}

#[test]
fn each_help_has_an_example() {
    for action in ["add", "passwd", "list", "check", "remove"] {
        let ended = run(gateloop().args(["user", action, "--help"]));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let example = format!("gateloop user {action} --file users");
        assert!(ended.stdout.contains(&example), "{ended:?}");
    }
}
