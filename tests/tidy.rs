//! The habits of this code that can be read off its source. A complaint names file and line.

use std::fmt;
use std::fs;
use std::path::Path;

/// The rooms of the library, from the ground up: each may know those before it.
const ROOMS: [&str; 15] = [
    "limits",
    "error",
    "stats",
    "address",
    "penalties",
    "protocol",
    "service",
    "session",
    "drive",
    "reactor",
    "models",
    "server",
    "client",
    "bench",
    "cli",
];

const LINE_CHARS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 400;

/// A file of this package, and its code: the same lines without comments and texts.
struct Source {
    path: String,
    text: String,
    code: String,
}

struct Complaint {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            code: without_comments_and_texts(text),
        }
    }

    /// Every file with Rust below these folders of the package.
    fn all(folders: &[&str]) -> Vec<Self> {
        let mut found = Vec::new();
        for folder in folders {
            Self::collect(folder, &mut found);
        }
        assert!(!found.is_empty(), "no source in {folders:?}");
        found
    }

    fn collect(folder: &str, found: &mut Vec<Self>) {
        let Ok(entries) = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) else {
            return;
        };
        for entry in entries {
            let entry = entry.expect("a folder that can be listed");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let path = format!("{folder}/{name}");
            if entry.file_type().expect("a type").is_dir() {
                Self::collect(&path, found);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).expect("a file that can be read");
                found.push(Self::new(&path, &text));
            }
        }
    }

    fn complain(&self, line: usize, what: impl Into<String>) -> Complaint {
        Complaint {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }

    /// The code but for the unit tests, which are a file of their own or the end of this one.
    fn before_tests(&self) -> &str {
        if self.path.ends_with("/tests.rs") {
            return "";
        }
        self.code
            .split("\n#[cfg(test)]\nmod tests {\n")
            .next()
            .unwrap_or_default()
    }

    /// A complaint for each line of `code` that has one of `words` in it.
    fn find(&self, code: &str, words: &[&str], why: &str) -> Vec<Complaint> {
        let found = numbered(code).filter_map(|(number, line)| {
            let word = words.iter().find(|word| has_word(line, word))?;
            Some(self.complain(number, format!("`{word}`: {why}")))
        });
        found.collect()
    }

    /// The room it belongs to: `protocol` for src/protocol/key.rs. The files that are the map of
    /// the house (src/lib.rs) and its door (src/main.rs) belong to none.
    fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let room = below.split('/').next()?.trim_end_matches(".rs");
        (!matches!(room, "lib" | "main")).then_some(room)
    }

    /// How many modules lie between it and the root of the crate, itself included.
    fn depth(&self) -> usize {
        let name = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        name.trim_end_matches("/mod").split('/').count()
    }
}

/// Its lines, the first being line 1.
fn numbered(code: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(code.lines())
}

#[track_caller]
fn assert_none(complaints: impl IntoIterator<Item = Complaint>) {
    let complaints: Vec<_> = complaints
        .into_iter()
        .map(|each| each.to_string())
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Whether `line` has `word` in it, with no letter or digit right before or behind it.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + word.len()..].chars().next();
        let joined_before = before.is_some_and(joins) && word.starts_with(joins);
        let joined_behind = behind.is_some_and(joins) && word.ends_with(joins);
        !joined_before && !joined_behind
    })
}

/// Blanks comments and what stands between quotes, so that only code is left. Lines stay lines.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blanked = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = text_literal(rest, code.chars().next_back()) {
            len
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(
            rest[..blanked]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' }),
        );
        rest = &rest[blanked..];
    }
    code
}

/// The length of the text or character literal at the front of `rest`, if one begins there.
fn text_literal(rest: &str, before: Option<char>) -> Option<usize> {
    let hashes = rest
        .strip_prefix('r')
        .map(|raw| raw.len() - raw.trim_start_matches('#').len());
    let is_raw = !before.is_some_and(|c| c.is_alphanumeric() && c != 'b');
    if let Some(hashes) = hashes.filter(|hashes| is_raw && rest[1 + hashes..].starts_with('"')) {
        let end = format!("\"{}", "#".repeat(hashes));
        let open = hashes + 2;
        return Some(
            rest[open..]
                .find(&end)
                .map_or(rest.len(), |at| open + at + end.len()),
        );
    }
    let quote = rest
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))?;
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => _ = chars.next(),
            c if c == quote => return Some(at + 1),
            // A lifetime: no quote follows its first character.
            _ if quote == '\'' && at == 1 && !rest[1 + c.len_utf8()..].starts_with('\'') => {
                return None;
            }
            _ => {}
        }
    }
    None
}

#[test]
fn only_code_is_left_of_the_source() {
    for (text, code) in [
        ("a // b", "a     "),
        ("a /* b\n c */ d", "a     \n      d"),
        (r#"f("x\"y", z)"#, r"f(      , z)"),
        (r##"f(r#"x"y"#, z)"##, r"f(        , z)"),
        (r"f('\'', '/', '\u{7f}')", r"f(    ,    ,         )"),
        (
            "fn f<'a>(x: &'a str) -> \"//\"",
            "fn f<'a>(x: &'a str) ->     ",
        ),
        ("for(\"x\")", "for(   )"),
    ] {
        assert_eq!(without_comments_and_texts(text), code);
    }
}

// Layers.

/// The rooms that `source` names, with the lines where it does: by `crate::room`, by
/// `crate::{room, room::x}`, by `gateloop::room`, or by as many `super::` as lead to the root.
/// Unit tests may look up: those of a service drive it by a session.
fn rooms_named(source: &Source) -> Vec<(usize, String)> {
    let (code, to_root) = (source.before_tests(), "super::".repeat(source.depth()));
    let mut named = Vec::new();
    for root in ["crate::", "gateloop::", &to_root] {
        for (at, _) in code.match_indices(root) {
            let (before, behind) = (&code[..at], &code[at + root.len()..]);
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            named.extend(first_names(behind).into_iter().map(|name| (line, name)));
        }
    }
    named
}

/// The names that a path begins with: one, or those of its outermost braces.
fn first_names(path: &str) -> Vec<String> {
    let name_of = |path: &str| -> String {
        path.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name_of(path)];
    };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(name_of(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn all_ways_to_name_a_room_are_seen() {
    let source = Source::new(
        "src/reactor/timers.rs",
        "use crate::{\n    limits::{A, B},\n    error,\n};\nuse super::super::cli::C;\n\
         use super::token;\nfn f() -> crate::stats::Stats {}\nuse xcrate::bench;",
    );
    let mut named = rooms_named(&source);
    named.sort();
    let expected = [(1, "error"), (1, "limits"), (5, "cli"), (7, "stats")];
    assert_eq!(named, expected.map(|(line, name)| (line, name.to_string())));
}

#[test]
fn imports_point_down() {
    let level = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut complaints = Vec::new();
    for source in Source::all(&["src"]) {
        let Some(room) = source.room() else { continue };
        let Some(own) = level(room) else {
            complaints.push(source.complain(1, format!("`{room}` has no place among ROOMS")));
            continue;
        };
        for (line, name) in rooms_named(&source) {
            if level(&name).is_some_and(|other| other > own) {
                complaints.push(source.complain(line, format!("`{room}` must not know `{name}`")));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn the_protocol_knows_no_socket_clock_thread_or_chance() {
    let words = [
        "std::net",
        "std::fs",
        "std::env",
        "std::os",
        "thread",
        "Instant::now",
        "SystemTime",
        "mio",
        "socket2",
        "rustix",
        "getrandom",
    ];
    let sources = Source::all(&["src/protocol"]);
    assert_none(sources.iter().flat_map(|source| {
        let why = "time and random bytes are arguments here";
        source.find(source.before_tests(), &words, why)
    }));
}

#[test]
fn crates_stay_in_the_rooms_they_were_let_into() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src"]) {
        let room = source.room().unwrap_or_default();
        if room != "reactor" && source.path != "src/bench/driver.rs" {
            complaints.extend(source.find(&source.code, &["mio"], "the reactor's alone"));
        }
        if room != "cli" {
            let words = [
                "clap",
                "bytesize",
                "humantime",
                "signal_hook",
                "toml",
                "tracing_subscriber",
            ];
            complaints.extend(source.find(&source.code, &words, "the binary's alone"));
        }
    }
    assert_none(complaints);
}

#[test]
fn clients_are_read_and_written_in_one_place() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src/drive", "src/reactor"]) {
        // Sockets, and the pipes of programs.
        let places = ["drive/driver", "drive/transport", "reactor/child"];
        let places = places.map(|file| format!("src/{file}.rs"));
        if !places.contains(&source.path) {
            let words = [
                ".read(",
                ".write(",
                ".write_vectored(",
                "io::read",
                "io::write",
            ];
            let why = "for the driver, its transport and the programs' pipes";
            complaints.extend(source.find(source.before_tests(), &words, why));
        }
    }
    assert_none(complaints);
}

// Size.

#[test]
fn lines_are_short() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src", "tests", "examples", "benches"]) {
        for (index, line) in source.text.lines().enumerate() {
            // A row of a table cannot be broken.
            let is_row = line.trim_start_matches([' ', '/', '!']).starts_with('|');
            let chars = line.chars().count();
            if !is_row && chars > LINE_CHARS_MAX {
                complaints.push(source.complain(index + 1, format!("{chars} columns")));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn files_tell_one_story() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src", "examples"]) {
        let lines = source.before_tests().lines().count();
        if lines > FILE_LINES_MAX {
            complaints.push(source.complain(1, format!("{lines} lines without its tests")));
        }
    }
    assert_none(complaints);
}

/// The first line of each function, its name and its length in lines. Leans on rustfmt: a
/// function ends at the first brace that stands as far in as its beginning.
fn functions(source: &Source) -> Vec<(usize, String, usize)> {
    let lines: Vec<_> = numbered(&source.code).collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut functions = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let ends = |other: &str| {
            indent(other) == indent(line)
                && (other.trim_start().starts_with('}') || other.trim_end().ends_with(['}', ';']))
        };
        let len = lines[index..].iter().position(|(_, other)| ends(other));
        functions.push((*number, name.to_string(), len.unwrap_or(lines.len()) + 1));
    }
    functions
}

fn function_name(line: &str) -> Option<&str> {
    let (before, behind) = line.split_once("fn ")?;
    let is_modifier = |word: &str| {
        matches!(word, "const" | "async" | "extern") || word == "pub" || word.starts_with("pub(")
    };
    let name = behind.split(['(', '<']).next()?;
    before.split_whitespace().all(is_modifier).then_some(name)
}

#[test]
fn functions_are_measured() {
    let text = "fn one() {}\n\nimpl X {\n    pub(crate) const fn three(\n    ) {\n    }\n\n    \
                fn declared();\n}\n\n// fn no() {\nlet f = fn_of();\n";
    let found = functions(&Source::new("src/x.rs", text));
    let expected = [(1, "one", 1), (4, "three", 3), (8, "declared", 1)];
    assert_eq!(
        found,
        expected.map(|(line, name, len)| (line, name.to_string(), len))
    );
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src", "tests", "examples", "benches"]) {
        for (line, name, len) in functions(&source) {
            if len > FUNCTION_LINES_MAX {
                complaints.push(source.complain(line, format!("`{name}` has {len} lines")));
            }
        }
    }
    assert_none(complaints);
}

// Habits.

#[test]
fn every_file_says_what_it_is_for() {
    let sources = Source::all(&["src", "tests", "examples", "benches"]);
    let silent = sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "));
    assert_none(silent.map(|source| source.complain(1, "no `//!` line says what it is for")));
}

#[test]
fn every_bound_is_in_limits() {
    let is_bound = |name: &str| {
        ["_MAX", "_MIN", "_TIMEOUT", "_LIMIT"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    let mut complaints = Vec::new();
    for source in Source::all(&["src"]) {
        if source.path == "src/limits.rs" {
            continue;
        }
        for (number, line) in numbered(source.before_tests()) {
            let constant = line
                .trim_start()
                .trim_start_matches("pub ")
                .strip_prefix("const ");
            let name = constant.and_then(|constant| constant.split(':').next());
            // The protocol's constants are not bounds but facts of the wire.
            if name.is_some_and(is_bound) && source.room() != Some("protocol") {
                complaints.push(source.complain(number, "a bound belongs into limits.rs"));
            }
            if constant.is_none() && has_literal_time(line) {
                complaints.push(source.complain(number, "a time without a name"));
            }
        }
    }
    assert_none(complaints);
}

fn has_literal_time(line: &str) -> bool {
    let (_, behind) = line.split_once("Duration::from_").unwrap_or_default();
    let (_, argument) = behind.split_once('(').unwrap_or_default();
    argument.starts_with(|c: char| c.is_ascii_digit())
}

#[test]
fn names_are_the_fields_own() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src", "examples"]) {
        for (number, line) in numbered(&source.code) {
            for word in ["Manager", "Helper", "utils", "fn get_"] {
                if line.contains(word) {
                    complaints.push(source.complain(number, format!("`{word}` in a name")));
                }
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn a_peers_bytes_cannot_panic_the_protocol() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/mod.rs"));
    let text = text.expect("the module");
    for lint in [
        "unwrap_used",
        "expect_used",
        "indexing_slicing",
        "arithmetic_side_effects",
    ] {
        let denied = text.contains(&format!("clippy::{lint}")) && text.contains("deny(");
        assert!(denied, "src/protocol/mod.rs: clippy::{lint} is not denied");
    }
}

#[test]
fn an_allowed_lint_says_why() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src", "tests", "examples", "benches"]) {
        let lines: Vec<_> = numbered(&source.code).collect();
        for (index, (number, line)) in lines.iter().enumerate() {
            let line = line.trim_start();
            if !["#[allow(", "#![allow(", "#[expect(", "#![expect("]
                .iter()
                .any(|attribute| line.starts_with(attribute))
            {
                continue;
            }
            let attribute = lines[index..]
                .iter()
                .take_while(|(_, line)| !line.contains(")]"));
            let last = lines[index..].iter().find(|(_, line)| line.contains(")]"));
            if !attribute
                .chain(last)
                .any(|(_, line)| line.contains("reason ="))
            {
                complaints.push(source.complain(*number, "no `reason = ` for an allowed lint"));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn tests_wait_for_conditions_on_free_ports_and_none_is_left_out() {
    let mut complaints = Vec::new();
    for source in Source::all(&["src", "tests"]) {
        let mut words = vec!["#[ignore", "sleep("];
        if source.path.starts_with("tests/") && !source.path.starts_with("tests/util/") {
            words.push("park_timeout(");
        }
        complaints.extend(source.find(&source.code, &words, "not in a test"));
        if source.path.starts_with("tests/") {
            let lines = source
                .text
                .lines()
                .enumerate()
                .filter(|(_, line)| has_fixed_port(line));
            complaints.extend(lines.map(|(index, _)| source.complain(index + 1, "a fixed port")));
        }
    }
    assert_none(complaints);
}

/// Whether the line binds, or has something bind, a port of its own choice.
fn has_fixed_port(line: &str) -> bool {
    let binds = ["bind(", "--listen"].iter().any(|word| line.contains(word));
    let mut ports = line.split("127.0.0.1").skip(1).map(|behind| {
        let behind = behind.trim_start_matches(['"', ':', ',', ' ']);
        behind
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    });
    binds && ports.any(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}
