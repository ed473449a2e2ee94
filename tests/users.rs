//! The user file as it is found: written by hand, by other programs, by us; broken, changed and
//! gone.

#![cfg(feature = "cli")]

mod util;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Instant, SystemTime};

use gateloop::limits::{
    ARGON2_KIB_MAX, ARGON2_LANES_MAX, ARGON2_PASSES_MAX, PASSWORD_BYTES_MAX, USER_FILE_BYTES_MAX,
    USER_FILE_SETTLES, USER_NAME_BYTES_MAX,
};
use gateloop::service::users::{self, Refused, UserFile, Users, Verdict, make_hash};
use util::users::{argon2_line, cheap_line, md5_line, phc};
use util::{Folder, PATIENCE};

const VECTOR: &str = "旭哥 | d3add3a5a2ecf5dd2fab4f2e4b907f54";

fn check(content: impl AsRef<[u8]>, name: &str, password: &str) -> Verdict {
    let users = Users::parse(content.as_ref()).expect("a file that can be read");
    users.check(name, password, &0.into())
}

fn error(content: impl AsRef<[u8]>) -> String {
    let error = Users::parse(content.as_ref()).expect_err("a broken line");
    error.to_string()
}

// Reading.

#[test]
fn the_vector_of_the_protocol_is_right() {
    assert_eq!(check(VECTOR, "旭哥", "123"), Verdict::RightByMd5);
    assert_eq!(check(VECTOR, "旭哥", "124"), Verdict::Wrong);
    assert_eq!(check(VECTOR, "旭", "哥123"), Verdict::Wrong);
    assert_eq!(md5_line("旭哥", "123"), format!("{VECTOR}\n"));
    let upper = VECTOR.to_uppercase();
    assert_eq!(check(upper, "旭哥", "123"), Verdict::RightByMd5);
}

#[test]
fn whatever_its_lines_look_like() {
    let plain = md5_line("alice", "a") + &md5_line("bob", "b") + &cheap_line("carol", "c");
    for (what, content) in [
        ("as we write it", plain.clone()),
        ("no newline at the end", plain.trim_end().to_string()),
        ("CRLF", plain.replace('\n', "\r\n")),
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("both", format!("\u{feff}{}", plain.replace('\n', "\r\n"))),
        ("no blanks", plain.replace(' ', "")),
        (
            "many blanks",
            plain.replace(" | ", " \t |\u{3000} ").replace('\n', "  \n"),
        ),
        ("indented", format!("  {}", plain.replace('\n', "\n\t"))),
        (
            "comments",
            format!("# users\n\n{}", plain.replace('\n', "\n  # one | more\n")),
        ),
    ] {
        let users = Users::parse(content.as_bytes()).expect(what);
        assert_eq!(users.len(), 3, "{what}");
        for (name, password, verdict) in [
            ("alice", "a", Verdict::RightByMd5),
            ("bob", "b", Verdict::RightByMd5),
            ("carol", "c", Verdict::Right),
            ("carol", "a", Verdict::Wrong),
            ("dave", "a", Verdict::Wrong),
            ("# one", "a", Verdict::Wrong),
        ] {
            assert_eq!(
                users.check(name, password, &0.into()),
                verdict,
                "{what}: {name}"
            );
        }
    }
}

#[test]
fn names_are_any_text() {
    for name in [
        "天王盖地虎",
        "🦀",
        "👩‍💻",
        "a|b",
        "|",
        "a | b",
        "O'Brien \"x\"",
        "a#",
        "é",
        "e\u{301}",
    ] {
        let content = md5_line("before", "x") + &md5_line(name, "密码") + &cheap_line("after", "x");
        assert_eq!(check(&content, name, "密码"), Verdict::RightByMd5, "{name}");
        assert_eq!(check(&content, name, "x"), Verdict::Wrong, "{name}");
    }
    // They look alike, and are two.
    let content = md5_line("é", "1") + &md5_line("e\u{301}", "2");
    assert_eq!(check(content, "é", "2"), Verdict::Wrong);
}

#[test]
fn an_empty_file_has_no_users() {
    for content in ["", "\n", "\u{feff}", "# nobody", " \r\n\r\n"] {
        assert!(
            Users::parse(content.as_bytes()).expect("a file").is_empty(),
            "{content:?}"
        );
    }
}

#[test]
fn a_broken_line_is_named() {
    let good = md5_line("alice", "a");
    let md5 = "0".repeat(32);
    let old = phc(8, 1, 1).replace("v=19", "v=16");
    for (line, why) in [
        ("alice", "no `|`"),
        ("| x", "the name is empty"),
        ("bob |", "neither 32 hexadecimal digits"),
        (
            &*format!("bob | {}", &md5[1..]),
            "neither 32 hexadecimal digits",
        ),
        (&format!("bob | {md5}0"), "neither 32 hexadecimal digits"),
        (
            &format!("bob | {}g", &md5[1..]),
            "neither 32 hexadecimal digits",
        ),
        (&format!("bob | {md5} | x"), "neither 32 hexadecimal digits"),
        (
            "bob | $2b$12$abcdefghijklmnopqrstuv",
            "neither 32 hexadecimal digits",
        ),
        (
            "bob | $argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "neither 32",
        ),
        ("bob | $argon2id$", "not of the form"),
        (
            "bob | $argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
            "not of the form",
        ),
        (&format!("bob | {old}"), "not of the form"),
        (&format!("bob | {}", phc(7, 1, 1)), "not of the form"),
        (&format!("bob | {}", phc(8, 0, 1)), "not of the form"),
        (
            &format!("bob | {}", phc(8, 1, 1).replace("t=1,", "")),
            "not of the form",
        ),
        (
            &format!("bob | {}", phc(8, 1, 1).replace("p=1", "p=1,data=AAAA")),
            "not of the form",
        ),
        (&format!("bob | {}$", phc(8, 1, 1)), "not of the form"),
        (&format!("b\u{0}b | {md5}"), "control character"),
        (&format!("a | {md5}\rb | {md5}"), "control character"),
    ] {
        let error = error(format!("# a comment\n{good}{line}\n{good}"));
        assert!(
            error.starts_with("line 3: ") && error.contains(why),
            "{line}: {error}"
        );
        assert!(!error.contains(&md5), "it quotes the file: {error}");
    }
    let broken = [good.as_bytes(), b"\n", b"b\xffb | x\n"].concat();
    assert_eq!(error(broken), "line 3: not UTF-8");
}

#[test]
fn a_name_that_is_there_twice_is_an_error_that_names_both_lines() {
    let twice = md5_line("alice", "a") + "\n" + &cheap_line("bob", "b") + &md5_line("alice", "b");
    assert_eq!(error(twice), "line 4: the same name as in line 1");
}

#[test]
fn costs_are_bounded() {
    let (kib, passes, lanes) = (ARGON2_KIB_MAX, ARGON2_PASSES_MAX, ARGON2_LANES_MAX);
    let content = format!("bob | {}", phc(kib, passes, lanes));
    assert_eq!(
        Users::parse(content.as_bytes())
            .expect("costs in bounds")
            .len(),
        1
    );
    for (kib, passes, lanes) in [
        (kib + 1, passes, lanes),
        (kib, passes + 1, lanes),
        (kib, passes, lanes + 1),
        (u32::MAX, 1, 1),
        (8, u32::MAX, 1),
    ] {
        let error = error(format!("\nbob | {}", phc(kib, passes, lanes)));
        assert!(error.starts_with("line 2: the hash costs more"), "{error}");
    }
}

#[test]
fn names_and_passwords_are_bounded() {
    let name = "n".repeat(USER_NAME_BYTES_MAX);
    assert_eq!(check(md5_line(&name, "x"), &name, "x"), Verdict::RightByMd5);
    let name = name + "n";
    let error = error(md5_line(&name, "x"));
    assert!(error.starts_with("line 1: the name is longer"), "{error}");
    let password = "p".repeat(PASSWORD_BYTES_MAX);
    assert!(make_hash(&password).is_ok());
    assert!(make_hash(&(password + "p")).is_err());
    assert!(make_hash("").is_err());
}

#[test]
fn a_hundred_thousand_users() {
    let mut content = String::new();
    for n in 0..50_000 {
        content += &md5_line(&format!("用户{n}"), &n.to_string());
        content += &format!("user{n} | {}\n", phc(8, 1, 1));
    }
    let users = Users::parse(content.as_bytes()).expect("a large file");
    assert_eq!(users.len(), 100_000);
    for n in [0, 1, 49_999] {
        let verdict = users.check(&format!("用户{n}"), &n.to_string(), &0.into());
        assert_eq!(verdict, Verdict::RightByMd5);
    }
    let twice = content + &md5_line("user0", "x");
    assert_eq!(error(twice), "line 100001: the same name as in line 2");
}

#[test]
fn nobody_prints_a_hash() {
    let content = format!("{VECTOR}\nalice | {}", make_hash("a").expect("a hash"));
    let users = Users::parse(content.as_bytes()).expect("a file");
    for text in [format!("{users:?}"), format!("{:?}", users.list())] {
        assert!(
            text.contains("md5") && text.contains("argon2id m=19456"),
            "{text}"
        );
        assert!(
            !text.contains("d3add3") && !text.contains("211, 173"),
            "{text}"
        );
        assert!(!text.contains("$v=19"), "{text}");
    }
}

// What it costs.

#[test]
fn every_attempt_costs_one_argon2_or_none_does() {
    let md5 = md5_line("md5", "x");
    let runs = |content: &str, name, password| {
        let runs = 0.into();
        let users = Users::parse(content.as_bytes()).expect("a file");
        let _ = users.check(name, password, &runs);
        runs.into_inner()
    };
    let both = md5.clone() + &cheap_line("argon2", "x") + &argon2_line("dear", "x", 64, 3);
    for name in ["md5", "argon2", "dear", "nobody", ""] {
        for password in ["x", "wrong", ""] {
            assert_eq!(runs(&both, name, password), 1, "{name} {password}");
            assert_eq!(runs(&md5, name, password), 0, "{name} {password}");
        }
    }
}

// In use.

/// Makes a file as old as it must be for its next change to be seen without reading it.
fn settle(path: &Path) {
    let long_ago = SystemTime::now() - 2 * USER_FILE_SETTLES;
    let file = File::options()
        .append(true)
        .open(path)
        .expect("a file of ours");
    file.set_modified(long_ago).expect("a file of ours");
}

#[test]
fn a_change_is_seen_and_a_broken_or_missing_file_changes_nothing() {
    let folder = Folder::new("users-changed");
    let path = folder.path("users");
    fs::write(&path, md5_line("alice", "a")).expect("a file");
    settle(&path);
    let file = UserFile::open(&path).expect("a user file");
    assert_eq!(file.check("alice", "a"), Verdict::RightByMd5);

    for (what, content, alice, bob) in [
        (
            "changed",
            md5_line("bob", "b"),
            Verdict::Wrong,
            Verdict::RightByMd5,
        ),
        (
            "broken",
            md5_line("alice", "a") + "bob",
            Verdict::Wrong,
            Verdict::RightByMd5,
        ),
        (
            "as long",
            md5_line("bob", "x"),
            Verdict::Wrong,
            Verdict::Wrong,
        ),
        ("empty", String::new(), Verdict::Wrong, Verdict::Wrong),
        (
            "whole",
            md5_line("alice", "a"),
            Verdict::RightByMd5,
            Verdict::Wrong,
        ),
    ] {
        fs::write(&path, content).expect("a file");
        settle(&path);
        assert_eq!(file.check("alice", "a"), alice, "{what}");
        assert_eq!(file.check("bob", "b"), bob, "{what}");
    }
    fs::remove_file(&path).expect("a file");
    assert_eq!(file.check("alice", "a"), Verdict::RightByMd5, "missing");
    // Another one of the same size and time.
    let other = folder.path("other");
    fs::write(&other, md5_line("alice", "b")).expect("a file");
    settle(&other);
    fs::rename(&other, &path).expect("a file");
    assert_eq!(file.check("alice", "b"), Verdict::RightByMd5, "replaced");
}

#[test]
fn what_cannot_be_read_is_an_error_at_the_start() {
    let folder = Folder::new("users-unreadable");
    let missing = UserFile::open(folder.path("users")).expect_err("no file");
    assert!(missing.to_string().contains("No such file"), "{missing}");
    for path in ["/dev/zero", env!("CARGO_MANIFEST_DIR")] {
        let error = UserFile::open(path).expect_err("no regular file");
        assert_eq!(error.to_string(), "not a regular file");
    }
}

#[test]
fn the_file_is_bounded() {
    let folder = Folder::new("users-long");
    let line = md5_line("alice", "a");
    for (len, fits) in [
        (USER_FILE_BYTES_MAX, true),
        (USER_FILE_BYTES_MAX + 1, false),
    ] {
        let comment = format!("#{}\n", "x".repeat(len - line.len() - 2));
        let path = folder.write("users", comment + &line);
        match UserFile::open(&path) {
            Ok(file) => assert!(fits && file.check("alice", "a") == Verdict::RightByMd5),
            Err(error) => assert!(!fits && error.to_string().contains("longer"), "{error}"),
        }
    }
}

// Changing it.

#[test]
fn a_change_leaves_all_else_as_it_was() {
    let folder = Folder::new("users-edited");
    let alice = md5_line("alice", "a").replace('\n', "");
    let bob = md5_line("bob", "b").replace('\n', "");
    let (new, carol) = ("1".repeat(32), "2".repeat(32));
    for end in ["\n", "\r\n"] {
        for mark in ["", "\u{feff}"] {
            let lines = |lines: &[&str]| format!("{mark}{}", lines.join(end));
            let comment = "  # of the old hall | not a user";
            let spaced = bob.replace(" | ", "\t|  ");
            let before = lines(&[&alice, comment, "", &spaced]);
            let path = folder.write("users", &before);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("our file");
            let path = Path::new(&path);

            users::add(path, "carol", &carol).expect("added");
            let added = format!("carol | {carol}");
            let after = lines(&[&alice, comment, "", &spaced, &added, ""]);
            assert_eq!(fs::read_to_string(path).expect("a file"), after);

            users::passwd(path, "bob", &new).expect("changed");
            let spaced = format!("bob\t|  {new}");
            let after = lines(&[&alice, comment, "", &spaced, &added, ""]);
            assert_eq!(fs::read_to_string(path).expect("a file"), after);

            users::remove(path, "alice").expect("removed");
            let after = lines(&[comment, "", &spaced, &added, ""]);
            assert_eq!(fs::read_to_string(path).expect("a file"), after);
            assert_eq!(fs::metadata(path).expect("a file").mode() & 0o777, 0o640);
        }
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let folder = Folder::new("users-refused");
    let hash = "0".repeat(32);
    let path = folder.write("users", md5_line("alice", "a"));
    let path = Path::new(&path);
    assert!(matches!(
        users::add(path, "alice", &hash),
        Err(Refused::Taken)
    ));
    assert!(matches!(
        users::passwd(path, "bob", &hash),
        Err(Refused::Unknown)
    ));
    assert!(matches!(users::remove(path, "bob"), Err(Refused::Unknown)));
    assert_eq!(
        fs::read_to_string(path).expect("a file"),
        md5_line("alice", "a")
    );

    let broken = md5_line("alice", "a") + "bob";
    fs::write(path, &broken).expect("a file");
    for refused in [
        users::add(path, "carol", &hash),
        users::passwd(path, "alice", &hash),
        users::remove(path, "alice"),
    ] {
        let error = refused.expect_err("the file is broken").to_string();
        assert!(error.starts_with("line 2: no `|`"), "{error}");
    }
    assert_eq!(fs::read_to_string(path).expect("a file"), broken);
}

#[test]
fn a_new_file_is_its_owners_alone_and_a_link_stays_one() {
    let folder = Folder::new("users-new");
    let (path, link) = (folder.path("users"), folder.path("link"));
    users::add(&path, "alice", &"0".repeat(32)).expect("added");
    assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
    symlink("users", &link).expect("a link");
    // Somebody was killed in the middle of a change.
    fs::write(folder.path(".users.new"), "half a li").expect("a file");
    users::add(&link, "bob", &"1".repeat(32)).expect("added");
    assert!(link.is_symlink());
    let file = UserFile::open(&path).expect("a user file");
    assert_eq!(file.users().len(), 2);
    let files = fs::read_dir(path.parent().expect("a folder")).expect("a folder");
    assert_eq!(files.count(), 2, "something lies around");
}

#[test]
fn those_who_change_it_wait_for_each_other_and_who_reads_it_sees_it_whole() {
    const THREADS: usize = 8;
    const EACH: usize = 5;
    let folder = Folder::new("users-together");
    let path = folder.path("users");
    users::add(&path, "first", &"0".repeat(32)).expect("added");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Relaxed) {
                let content = fs::read(&path).expect("it is always there");
                assert!(!Users::parse(&content).expect("it is whole").is_empty());
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let path = &path;
                scope.spawn(move || {
                    for n in 0..EACH {
                        let name = format!("{thread} {n}");
                        users::add(path, &name, &"1".repeat(32)).expect("added");
                    }
                })
            })
            .collect();
        let ends: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Relaxed);
        assert!(ends.iter().all(Result::is_ok), "a writer failed");
        reader.join().expect("no panic");
    });
    let file = UserFile::open(&path).expect("a user file");
    assert_eq!(file.users().len(), 1 + THREADS * EACH);
}

#[test]
fn md5_is_replaced_by_argon2id_unless_somebody_else_changes_the_file() {
    let folder = Folder::new("users-upgraded");
    let path = folder.write("users", format!("# hall\n{VECTOR}"));
    let path = Path::new(&path);
    let locked = File::open(path.parent().expect("a folder")).expect("a folder");
    locked.lock().expect("a lock");
    let begun = Instant::now();
    assert!(!users::upgrade(path, "旭哥", "123").expect("not now"));
    assert!(begun.elapsed() < PATIENCE / 2);
    drop(locked);

    assert!(!users::upgrade(path, "旭哥", "another").expect("not that password's"));
    assert!(users::upgrade(path, "旭哥", "123").expect("upgraded"));
    let content = fs::read_to_string(path).expect("a file");
    assert!(
        content.starts_with("# hall\n旭哥 | $argon2id$v=19$"),
        "{content}"
    );
    assert_eq!(check(&content, "旭哥", "123"), Verdict::Right);
    assert_eq!(check(&content, "旭哥", "124"), Verdict::Wrong);
    assert!(!users::upgrade(path, "旭哥", "123").expect("it is none any more"));
    assert!(!users::upgrade(path, "nobody", "123").expect("nobody"));
}

#[test]
fn two_hashes_of_one_password_differ() {
    let (one, other) = (
        make_hash("x").expect("a hash"),
        make_hash("x").expect("a hash"),
    );
    assert_ne!(one, other);
    let content = format!("a | {one}\nb | {other}");
    for name in ["a", "b"] {
        assert_eq!(check(&content, name, "x"), Verdict::Right);
    }
}
