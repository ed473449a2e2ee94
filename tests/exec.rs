//! Remote commands: what may run, what comes of it, and that nothing is left behind.

#![cfg(feature = "cli")]

mod util;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use gateloop::limits::{CHILDREN_MAX, CHILDREN_PER_CONNECTION_MAX};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use util::cli::assert_error;
use util::measure::{cpu_time, peak_resident_bytes, resident_bytes};
use util::server::{Raw, frame};
use util::users::md5_line;
use util::{Ended, Folder, Process, Serving, dawdle, eventually, gateloop, run};

const MIB: usize = 1024 * 1024;

/// A server that runs these commands, in a folder of its own.
struct Commands {
    /// Dropped first: where a test fails, its server is killed and can end nobody.
    _strays: Strays,
    serving: Serving,
    _folder: Folder,
    idle: usize,
}

/// Each a shell script by its name: the table's other keys come behind it.
const SCRIPTS: [(&str, &str); 17] = [
    ("hello", "echo hello; echo oops >&2; exit 3"),
    ("silent", ":"),
    ("env", "env; pwd; ulimit -n; cat; ls -l /proc/self/fd"),
    ("bytes", r"printf '\377\000'; printf '\303\251' >&2"),
    ("long", "exec sleep 3600"),
    (
        "stubborn",
        "trap '' TERM; echo ready; while :; do sleep 1; done",
    ),
    ("forks", "sleep 3600 & sleep 3600 & echo $$"),
    ("daemon", "setsid sleep 3 & echo gone"),
    ("closes", "exec >&- 2>&-; sleep 0.2; exit 4"),
    ("gibibyte", "head -c 1073741824 /dev/zero"),
    ("yes", "exec yes"),
    (
        "tidies",
        "trap 'sleep 0.3; echo > tidied; exit' TERM; echo ready; while :; do sleep 0.1; done",
    ),
    ("killed", "kill -9 $$"),
    ("slow", "sleep 0.5; echo done"),
    ("args", r#"printf '%s\n' "$@""#),
    (
        "parts",
        r"printf '\303'; sleep 0.2; printf '\251'; printf '\303'",
    ),
    (
        "tree",
        "sh -c 'sleep 3600 | sleep 3600' & trap 'exit 7' TERM; wait",
    ),
];

impl Commands {
    /// `keys` are added to the table of each script that they name.
    fn serve(name: &str, keys: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = Folder::new(name);
        let mut toml = String::new();
        for (name, script) in SCRIPTS {
            let script = toml_text(script);
            let args = format!(r#"args = ["-c", {script}, "sh"]"#);
            toml += &format!("[exec.commands.{name}]\nprogram = \"/bin/sh\"\n{args}\n");
            for (_, key) in keys.iter().filter(|(of, _)| *of == name) {
                toml += &format!("{key}\n");
            }
        }
        toml += "[exec.commands.missing]\nprogram = \"/no/such/program\"\n";
        let config = folder.write("config.toml", toml);
        let serving = Serving::start_open(&[&["--config", &*config], args].concat());
        let idle = descriptors(&serving);
        Self {
            _strays: Strays(serving.process.id()),
            serving,
            _folder: folder,
            idle,
        }
    }

    fn caller(&self) -> Caller {
        Caller(self.serving.connect())
    }

    fn children(&self) -> BTreeSet<u32> {
        children_of(self.serving.process.id())
    }

    /// Waits until nothing runs, nothing is held and no descriptor is open beside those of the
    /// start and of the connections.
    fn is_clean(&self) {
        let mut client = self.serving.connect();
        eventually("no child is left, nor a pipe", || {
            let stats = client.call("stats");
            let open = stats["open"].as_u64().expect("a number") as usize;
            let counts = (&stats["children"], &stats["buffer_bytes"]) == (&json!(0), &json!(0));
            let clean =
                self.children().is_empty() && descriptors(&self.serving) == self.idle + open;
            (counts && clean).then_some(())
        });
    }
}

/// What a server still runs when a test is over.
struct Strays(u32);

impl Drop for Strays {
    fn drop(&mut self) {
        for group in children_of(self.0) {
            let group = i32::try_from(group).ok().and_then(Pid::from_raw);
            // It may have ended by itself just now.
            let _ = kill_process_group(group.expect("a process id"), Signal::KILL);
        }
    }
}

fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn descriptors(serving: &Serving) -> usize {
    let folder = format!("/proc/{}/fd", serving.process.id());
    fs::read_dir(folder).expect("a process").count()
}

/// Processes whose parent this one is, zombies included.
fn children_of(parent: u32) -> BTreeSet<u32> {
    processes()
        .filter(|process| process.parent == parent)
        .map(|process| process.id)
        .collect()
}

/// Processes that are alive in these groups.
fn alive_in(groups: &BTreeSet<u32>) -> usize {
    processes()
        .filter(|process| groups.contains(&process.group) && process.state != 'Z')
        .count()
}

struct Stat {
    id: u32,
    state: char,
    parent: u32,
    group: u32,
}

fn processes() -> impl Iterator<Item = Stat> {
    let all = fs::read_dir("/proc").expect("/proc");
    all.filter_map(|entry| {
        let text = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (id, rest) = text.split_once(" (")?;
        let mut fields = rest.rsplit_once(") ")?.1.split(' ');
        Some(Stat {
            id: id.parse().ok()?,
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    })
}

/// A client that calls methods.
struct Caller(Raw);

impl Caller {
    fn ask(&mut self, id: u64, method: &str, params: &Value) {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.0.send_frame(request.to_string().as_bytes());
    }

    fn start(&mut self, name: &str) {
        self.ask(1, "exec", &json!({"name": name}));
    }

    fn stream(&mut self, name: &str) {
        self.ask(1, "exec", &json!({"name": name, "stream": true}));
    }

    fn message(&mut self) -> Value {
        serde_json::from_slice(&self.0.recv_frame()).expect("JSON")
    }

    fn exec(&mut self, params: &Value) -> Value {
        self.ask(1, "exec", params);
        self.message()
    }

    fn run(&mut self, name: &str) -> Value {
        self.exec(&json!({"name": name}))["result"].take()
    }

    fn code(&mut self, params: &Value) -> i64 {
        let answer = self.exec(params);
        answer["error"]["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("{answer}"))
    }

    fn ping(&mut self) -> Duration {
        let began = Instant::now();
        assert_eq!(self.0.call("ping"), "pong");
        began.elapsed()
    }
}

fn result(status: i32, stdout: &str, stderr: &str) -> Value {
    json!({
        "status": status, "signal": null, "stdout": stdout, "stderr": stderr,
        "truncated": false, "timed_out": false,
    })
}

// What runs, and how.

#[test]
fn a_command_answers_with_its_output_and_its_end() {
    let commands = Commands::serve("exec-output", &[], &[]);
    let mut caller = commands.caller();
    assert_eq!(caller.run("hello"), result(3, "hello\n", "oops\n"));
    assert_eq!(caller.run("silent"), result(0, "", ""));
    assert_eq!(caller.run("closes"), result(4, "", ""));
    let killed = caller.run("killed");
    assert_eq!(
        (&killed["status"], &killed["signal"]),
        (&Value::Null, &json!(9))
    );
    let bytes = caller.run("bytes");
    assert_eq!(bytes["stdout_base64"], "/wA=");
    assert_eq!((bytes.get("stdout"), &bytes["stderr"]), (None, &json!("é")));
    commands.is_clean();
}

#[test]
fn nothing_of_the_server_is_handed_on() {
    let commands = Commands::serve("exec-env", &[("env", "folder = \"/usr\"")], &[]);
    let others: Vec<_> = (0..3).map(|_| commands.caller()).collect();
    let printed = commands.caller().run("env");
    let stdout = printed["stdout"].as_str().expect("text");
    let (variables, rest) = stdout.split_once("\n/usr\n").expect("the folder");
    // The shell itself sets the others.
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let names: BTreeSet<_> = variables.map(|(name, _)| name).collect();
    assert!(names.is_subset(&BTreeSet::from([
        "LANG", "PATH", "PWD", "OLDPWD", "SHLVL", "_"
    ])));
    assert!(rest.starts_with("1024\n"), "{rest}");
    assert!(
        !rest.contains("socket:") && !rest.contains("anon_inode"),
        "{rest}"
    );
    drop(others);
}

#[test]
fn only_arguments_that_match_a_pattern_are_added() {
    let pattern = r#"caller-args = ["[a-z]+|-v", "a.c"]"#;
    let commands = Commands::serve("exec-args", &[("args", pattern)], &[]);
    let mut caller = commands.caller();
    let args = |args: &[&str]| json!({"name": "args", "args": args});
    let printed = |answer: Value| answer["result"]["stdout"].clone();
    assert_eq!(printed(caller.exec(&args(&["abc", "a c"]))), "abc\na c\n");
    assert_eq!(printed(caller.exec(&args(&["-v"]))), "-v\n");
    assert_eq!(printed(caller.exec(&json!(["args", ["abc"]]))), "abc\n");
    for refused in [
        &["; rm -rf /"][..],
        &["abc\n"],
        &["abc -v"],
        &["x-v"],
        &["$(id)"],
        &[""],
        &["abc", "a\0c"],
        &["abc", "a\nc"],
        &["abc", "abc", "abc"],
    ] {
        assert_eq!(caller.code(&args(refused)), -32_602, "{refused:?}");
    }
    for wrong in [
        json!({"name": "no such"}),
        json!({"name": "args; rm"}),
        json!({"name": "/bin/sh"}),
        json!({"name": "hello", "args": ["x"]}),
        json!({"name": "hello", "env": {}}),
        json!({"name": 1}),
        json!([]),
    ] {
        assert_eq!(caller.code(&wrong), -32_602, "{wrong}");
    }
    commands.is_clean();
}

#[test]
fn an_argument_is_bounded_before_its_pattern_is_asked() {
    let commands = Commands::serve("exec-long", &[("args", r#"caller-args = ["a*"]"#)], &[]);
    let mut caller = commands.caller();
    let args = |len| json!({"name": "args", "args": ["a".repeat(len)]});
    let answer = caller.exec(&args(4096));
    assert_eq!(
        answer["result"]["stdout"].as_str().map(str::len),
        Some(4097)
    );
    assert_eq!(caller.code(&args(4097)), -32_602);
    let many = json!({"name": "args", "args": vec![""; 3_000_000]});
    assert_eq!(caller.code(&many), -32_602);
}

#[test]
fn a_program_that_is_missing_is_an_error() {
    let commands = Commands::serve("exec-missing", &[], &[]);
    let answer = commands.caller().exec(&json!({"name": "missing"}));
    assert_eq!(answer["error"]["code"], -32_003);
    let message = answer["error"]["message"].as_str().expect("text");
    assert!(
        message.ends_with("could not be started: entity not found"),
        "{message}"
    );
    commands.is_clean();
}

#[test]
fn a_batch_and_a_notification_run_commands_too() {
    let commands = Commands::serve("exec-batch", &[], &[]);
    let mut caller = commands.caller();
    let request = |id: u64, name| {
        let params = json!({"name": name});
        json!({"jsonrpc": "2.0", "id": id, "method": "exec", "params": params})
    };
    let notification = json!({"jsonrpc": "2.0", "method": "exec", "params": {"name": "hello"}});
    let batch = json!([request(7, "slow"), notification, request(8, "hello")]);
    caller.0.send_frame(batch.to_string().as_bytes());
    let answers = caller.message();
    let mut stdouts: Vec<_> = answers.as_array().expect("a batch").iter().collect();
    stdouts.sort_by_key(|answer| answer["id"].as_u64());
    let stdouts: Vec<_> = stdouts
        .iter()
        .map(|each| &each["result"]["stdout"])
        .collect();
    assert_eq!(stdouts, ["done\n", "hello\n"]);
    commands.is_clean();
}

// How it ends.

#[test]
fn a_command_is_killed_as_a_group_at_its_timeout() {
    let key = r#"timeout = "300ms""#;
    let keys = ["long", "stubborn", "tree"].map(|name| (name, key));
    let commands = Commands::serve("exec-timeout", &keys, &[]);
    let mut caller = commands.caller();
    let outcome = |result: &Value| (result["status"].clone(), result["signal"].clone());
    let result = caller.run("long");
    assert_eq!(outcome(&result), (Value::Null, json!(15)));
    assert_eq!(result["timed_out"], true);
    // It may end as it likes in its grace; those below it end with it.
    let result = caller.run("tree");
    assert_eq!(outcome(&result), (json!(7), Value::Null));
    let began = Instant::now();
    let result = caller.run("stubborn");
    assert_eq!(outcome(&result), (Value::Null, json!(9)));
    assert_eq!(result["stdout"], "ready\n");
    assert!(began.elapsed() > Duration::from_secs(2), "it had its grace");
    commands.is_clean();
}

#[test]
fn what_a_command_leaves_behind_in_its_group_ends_with_it() {
    let commands = Commands::serve("exec-forks", &[], &[]);
    let mut caller = commands.caller();
    let began = Instant::now();
    let forks = caller.run("forks");
    let group = forks["stdout"]
        .as_str()
        .and_then(|text| text.trim().parse().ok());
    let group = BTreeSet::from([group.expect("its number")]);
    assert_eq!(forks["status"], 0);
    eventually("none of the group is left", || {
        (alive_in(&group) == 0).then_some(())
    });
    // Who has left the group is out of reach, but holds nobody up.
    assert_eq!(caller.run("daemon"), result(0, "gone\n", ""));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "waited for a daemon"
    );
    commands.is_clean();
}

/// The groups of what runs now, which must be so many.
fn running(commands: &Commands, count: usize) -> BTreeSet<u32> {
    eventually("they run", || {
        let children = commands.children();
        (children.len() == count).then_some(children)
    })
}

#[test]
fn a_caller_who_goes_takes_its_commands_along() {
    let commands = Commands::serve("exec-gone", &[], &[]);
    let mut caller = commands.caller();
    caller.start("long");
    caller.stream("stubborn");
    caller.start("tree");
    let groups = running(&commands, 3);
    eventually("the tree stands", || (alive_in(&groups) >= 6).then_some(()));
    caller.0.reset();
    commands.is_clean();
    assert_eq!(alive_in(&groups), 0);
}

#[test]
fn a_half_closed_caller_still_gets_its_answer() {
    let commands = Commands::serve("exec-half", &[], &[]);
    let mut caller = commands.caller();
    caller.start("slow");
    caller.0.shutdown_write();
    assert_eq!(caller.message()["result"]["stdout"], "done\n");
    assert!(caller.0.recv_to_end().is_empty());
    commands.is_clean();
}

#[test]
fn draining_answers_what_ends_in_time_and_kills_the_rest() {
    let args = ["--drain-timeout", "8s"];
    let commands = Commands::serve("exec-drain", &[], &args);
    let (mut short, mut long) = (commands.caller(), commands.caller());
    short.start("slow");
    long.start("long");
    let groups = running(&commands, 2);
    commands.serving.process.signal(Signal::TERM);
    assert_eq!(short.message()["result"]["stdout"], "done\n");
    let killed = long.message()["result"].take();
    assert_eq!(
        (&killed["signal"], &killed["timed_out"]),
        (&json!(15), &json!(true))
    );
    assert_eq!(long.0.recv_to_end(), b"");
    let ended = commands.serving.process.wait();
    assert_eq!(ended.code, Some(0), "nobody was cut off: {ended:?}");
    assert_eq!(alive_in(&groups), 0);
}

#[test]
fn a_server_that_stops_leaves_commands_their_grace() {
    let folder = Folder::new("exec-grace-files");
    let key = format!("folder = \"{}\"", folder.path("").display());
    let commands = Commands::serve("exec-grace", &[("tidies", &key)], &[]);
    let mut caller = commands.caller();
    caller.stream("tidies");
    assert_eq!(caller.message()["params"]["stdout"], "ready\n");
    let groups = running(&commands, 1);
    caller.0.reset();
    commands.serving.process.signal(Signal::TERM);
    assert_eq!(commands.serving.process.wait().code, Some(0));
    assert_eq!(alive_in(&groups), 0);
    assert!(
        folder.path("tidied").exists(),
        "it was killed while it tidied up"
    );
}

#[test]
fn no_command_outlives_its_server() {
    for (name, signals, code) in [
        // Who ignores SIGTERM is killed at the drain's deadline, and its caller is cut off.
        ("exec-drained", &[Signal::TERM][..], Some(1)),
        ("exec-aborted", &[Signal::TERM, Signal::INT], Some(1)),
    ] {
        let commands = Commands::serve(name, &[], &["--drain-timeout", "1s"]);
        let mut callers: Vec<_> = (0..3).map(|_| commands.caller()).collect();
        for caller in &mut callers {
            caller.stream("stubborn");
            assert_eq!(caller.message()["method"], "exec.output");
            caller.start("tree");
        }
        let groups = running(&commands, 6);
        for signal in signals {
            commands.serving.process.signal(*signal);
        }
        let ended = commands.serving.process.wait();
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(alive_in(&groups), 0);
    }
}

#[test]
fn a_caller_on_a_unix_socket_need_only_close() {
    let folder = Folder::new("exec-unix-path");
    let socket = folder.path("socket");
    let listen = format!("unix:{}", socket.display());
    let commands = Commands::serve("exec-unix", &[], &["--listen", &listen]);
    let mut caller = UnixStream::connect(&socket).expect("the server listens");
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "exec", "params": {"name": "tree"}});
    caller
        .write_all(&frame(request.to_string().as_bytes()))
        .expect("the server takes it");
    let groups = running(&commands, 1);
    drop(caller);
    commands.is_clean();
    assert_eq!(alive_in(&groups), 0);
}

// How much.

#[test]
fn output_beyond_its_limit_is_dropped_and_the_command_goes_on() {
    let keys = [("gibibyte", r#"output = "100KiB""#)];
    let commands = Commands::serve("exec-gibibyte", &keys, &[]);
    let mut caller = commands.caller();
    let process = commands.serving.process.id();
    caller.ping();
    let before = peak_resident_bytes(process);
    let result = caller.run("gibibyte");
    assert_eq!(
        (&result["status"], &result["truncated"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(result["stdout"].as_str().map(str::len), Some(100 * 1024));
    let grown = peak_resident_bytes(process) - before;
    assert!(grown < 4 * MIB, "{grown} bytes for a GiB");
    commands.is_clean();
}

#[test]
fn a_command_that_prints_for_ever_stops_at_a_reader_that_does_not_read() {
    let commands = Commands::serve("exec-yes", &[], &["--write-stall-timeout", "20s"]);
    let process = commands.serving.process.id();
    let (mut reader, mut other) = (commands.caller(), commands.caller());
    other.ping();
    let before = resident_bytes(process);
    reader.stream("yes");
    let yes = *running(&commands, 1).first().expect("one");
    // It is stopped when its pipe is full and nobody's processor time grows any more.
    let mut used = (Duration::ZERO, Duration::ZERO);
    eventually("it stands still", || {
        dawdle(Duration::from_millis(100));
        let now = (cpu_time(yes), cpu_time(process));
        let still = now.0 == std::mem::replace(&mut used, now).0;
        (still && now.0 > Duration::ZERO).then_some(())
    });
    let mut times: Vec<_> = (0..500).map(|_| other.ping()).collect();
    times.sort_unstable();
    assert!(times[490] < Duration::from_millis(20), "{:?}", times[490]);
    let idle = cpu_time(process);
    dawdle(Duration::from_millis(300));
    assert!(
        cpu_time(process) - idle < Duration::from_millis(30),
        "it spins"
    );
    let grown = resident_bytes(process).saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes for who does not read");
    // Who reads again gets what follows, each line whole and in order.
    let mut text = String::new();
    while text.len() < 16 * MIB {
        let message = reader.message();
        assert_eq!(message["method"], "exec.output");
        assert_eq!(message["params"]["id"], 1);
        text += message["params"]["stdout"].as_str().expect("text");
    }
    assert!(text.as_bytes().chunks(2).all(|line| line == b"y\n"));
    drop(reader);
    commands.is_clean();
}

/// Says that it is over, also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn commands_that_print_for_ever_do_not_starve_a_ping() {
    let commands = Commands::serve("exec-chatty", &[], &[]);
    let mut other = commands.caller();
    let readers: Vec<_> = (0..4).map(|_| commands.caller()).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        for mut reader in readers {
            let over = &over;
            scope.spawn(move || {
                reader.stream("yes");
                while !over.load(Relaxed) {
                    reader.0.recv_frame();
                }
                reader.0.reset();
            });
        }
        running(&commands, 4);
        let mut times: Vec<_> = (0..200).map(|_| other.ping()).collect();
        times.sort_unstable();
        // As long as it is on a busy machine: a pipe that is read until it is empty never is.
        assert!(times[100] < Duration::from_secs(1), "{:?}", times[100]);
    });
    commands.is_clean();
}

#[test]
fn two_hundred_at_once_all_answer() {
    let commands = Commands::serve("exec-many", &[], &[]);
    let mut callers: Vec<_> = (0..200).map(|_| commands.caller()).collect();
    for caller in &mut callers {
        caller.start("slow");
    }
    for caller in &mut callers {
        assert_eq!(caller.message()["result"], result(0, "done\n", ""));
    }
    drop(callers);
    commands.is_clean();
}

#[test]
fn so_many_run_for_one_caller_and_not_one_more() {
    let commands = Commands::serve("exec-one-caller", &[], &[]);
    let mut caller = commands.caller();
    for id in 0..=CHILDREN_PER_CONNECTION_MAX as u64 {
        caller.ask(id, "exec", &json!({"name": "slow"}));
    }
    let refused = caller.message();
    assert_eq!(refused["id"], CHILDREN_PER_CONNECTION_MAX);
    assert_eq!(refused["error"]["code"], -32_000);
    for _ in 0..CHILDREN_PER_CONNECTION_MAX {
        assert_eq!(caller.message()["result"]["status"], 0);
    }
    assert_eq!(caller.run("silent"), result(0, "", ""));
    commands.is_clean();
}

#[test]
fn so_many_run_for_all_callers_and_not_one_more() {
    let commands = Commands::serve("exec-all-callers", &[], &[]);
    let callers = CHILDREN_MAX.div_ceil(CHILDREN_PER_CONNECTION_MAX);
    let mut callers: Vec<_> = (0..callers).map(|_| commands.caller()).collect();
    for caller in &mut callers {
        for id in 0..CHILDREN_PER_CONNECTION_MAX as u64 {
            caller.ask(id, "exec", &json!({"name": "long"}));
        }
    }
    running(&commands, CHILDREN_MAX);
    let mut one_more = commands.caller();
    assert_eq!(one_more.code(&json!({"name": "silent"})), -32_000);
    callers.pop().expect("one").0.reset();
    eventually("there is room", || {
        let answer = one_more.exec(&json!({"name": "silent"}));
        (answer["result"]["status"] == 0).then_some(())
    });
    callers.into_iter().for_each(|caller| caller.0.reset());
    commands.is_clean();
}

// As it comes.

#[test]
fn output_is_told_as_it_comes_in_whole_characters() {
    let commands = Commands::serve("exec-stream", &[], &[]);
    let mut caller = commands.caller();
    caller.stream("parts");
    let told = |message: Value| {
        assert_eq!(
            (&message["method"], &message["params"]["id"]),
            (&json!("exec.output"), &json!(1))
        );
        message["params"].clone()
    };
    assert_eq!(told(caller.message())["stdout"], "é");
    assert_eq!(told(caller.message())["stdout_base64"], "ww==");
    assert_eq!(caller.message()["result"], result(0, "", ""));
    caller.stream("stubborn");
    assert_eq!(told(caller.message())["stdout"], "ready\n");
    caller.0.reset();
    commands.is_clean();
}

// `gateloop call`, and the file.

impl Commands {
    fn call(&self, params: &str) -> Command {
        let mut command = gateloop();
        let args = [
            "call",
            "--handshake",
            "none",
            self.serving.address(),
            "exec",
            params,
        ];
        command.args(args);
        command
    }
}

fn outcome(ended: &Ended) -> (Option<i32>, &str, &str) {
    (ended.code, &ended.stdout, &ended.stderr)
}

#[test]
fn a_call_is_like_running_the_command() {
    let keys = [
        ("long", r#"timeout = "100ms""#),
        ("gibibyte", r#"output = "1KiB""#),
    ];
    let commands = Commands::serve("exec-call", &keys, &[]);
    for stream in [false, true] {
        let call = |name: &str| {
            run(&mut commands.call(&json!({"name": name, "stream": stream}).to_string()))
        };
        assert_eq!(outcome(&call("hello")), (Some(3), "hello\n", "oops\n"));
        assert_eq!(outcome(&call("silent")), (Some(0), "", ""));
        assert_eq!(outcome(&call("killed")), (Some(128 + 9), "", ""));
        let ended = call("long");
        assert_eq!(ended.code, Some(128 + 15));
        assert_eq!(
            ended.stderr,
            "gateloop: the time of the command had passed\n"
        );
        assert_eq!(
            call("parts").stdout,
            "é\u{fffd}",
            "the last byte is none of a character"
        );
    }
    let ended = run(&mut commands.call(r#"{"name": "gibibyte"}"#));
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1024));
    assert!(ended.stderr.contains("only the beginning"), "{ended:?}");
    for (params, why) in [
        (r#"{"name": "no such"}"#, "no such command"),
        (r#"{"name": "missing"}"#, "could not be started"),
        ("nothing", "not JSON"),
    ] {
        assert_error(&run(&mut commands.call(params)), 125, why);
    }
    let mut nobody = gateloop();
    nobody.args([
        "call",
        "unix:/no/such/socket",
        "exec",
        "[]",
        "--handshake",
        "none",
    ]);
    assert_error(&run(&mut nobody), 125, "No such file");
    commands.is_clean();
}

#[test]
fn a_call_that_is_interrupted_takes_its_command_along() {
    let commands = Commands::serve("exec-interrupt", &[], &[]);
    for params in [r#"{"name": "tree"}"#, r#"{"name": "yes", "stream": true}"#] {
        let call = Process::start(&mut commands.call(params));
        let groups = running(&commands, 1);
        call.signal(Signal::INT);
        assert_eq!(call.wait().code, None);
        commands.is_clean();
        assert_eq!(alive_in(&groups), 0);
    }
}

#[test]
fn a_wrong_table_is_named_with_what_is_wrong_in_it() {
    let folder = Folder::new("exec-file");
    let ok = "program = \"/bin/true\"\n";
    let command = |keys: &str| format!("[exec.commands.it]\n{keys}");
    for (toml, why) in [
        ("exec = 1".to_string(), "`exec` must be a table: [exec]"),
        (
            "[exec]\nshel = true".into(),
            "[exec]: unknown key `shel`, did you mean `shell`?",
        ),
        (
            "[exec]\nshell = true".into(),
            "[exec]: shell must name the users",
        ),
        (
            command(""),
            "[exec.commands.it]: the following required arguments",
        ),
        (
            command(&format!("{ok}pogram = 1")),
            "unknown key `pogram`, did you mean `program`?",
        ),
        (
            command(&format!("{ok}timeout = 5")),
            "a time is a number with a unit",
        ),
        (
            command(&format!("{ok}output = \"much\"")),
            "a size is a number with a unit",
        ),
        (
            command(&format!("{ok}caller-args = [\"(\"]")),
            "`(`: unclosed group",
        ),
        (
            command(&format!("{ok}folder = \"here\"")),
            "command `it`: the folder `here`",
        ),
        (
            command("program = \"true\""),
            "command `it`: the program `true` is no absolute path",
        ),
    ] {
        let file = folder.write("config.toml", &toml);
        let mut serve = gateloop();
        serve.args(["serve", "--handshake", "none", "--config", &file]);
        assert_error(&run(&mut serve), 2, why);
    }
    let file = folder.write("config.toml", command(ok));
    for (args, why) in [
        (["--service", "echo"], "no other service runs commands"),
        (["--model", "threads"], "[exec] needs --model reactor"),
    ] {
        let mut serve = gateloop();
        serve
            .args(["serve", "--handshake", "none", "--config", &file])
            .args(args);
        assert_error(&run(&mut serve), 2, why);
    }
}

#[test]
fn who_may_run_what_is_said_by_the_table_and_the_login() {
    let folder = Folder::new("exec-users");
    let toml = "[exec]\nshell = true\nshell-users = [\"alice\"]\n\
                [exec.commands.hers]\nprogram = \"/bin/true\"\nusers = [\"alice\"]\n\
                [exec.commands.anybodys]\nprogram = \"/bin/true\"\n";
    let config = folder.write("config.toml", toml);
    let file = md5_line("alice", "a password") + &md5_line("bob", "another");
    let users = folder.write("users", file);
    let serving = Serving::start_open(&["--config", &config, "--users", &users]);
    let mut caller = Caller(serving.connect());
    let hers = || ("exec", json!({"name": "hers"}));
    let anybodys = || ("exec", json!({"name": "anybodys"}));
    let unknown = || ("exec", json!({"name": "unknown"}));
    let shell = || ("shell", json!({"line": "echo $((6 * 7)) | tr 4 5; exit 3"}));
    let answer = |caller: &mut Caller, (method, params): (&str, Value)| {
        caller.ask(1, method, &params);
        caller.message()
    };
    for call in [hers(), anybodys(), unknown(), shell()] {
        let answer = answer(&mut caller, call);
        assert_eq!(answer["error"]["code"], -32_002);
        assert_eq!(
            answer["error"]["message"],
            "only for users who have logged in"
        );
    }
    let login = |name, password| ("login", json!({"name": name, "password": password}));
    assert_eq!(
        answer(&mut caller, login("bob", "another"))["result"]["user"],
        "bob"
    );
    for call in [hers(), shell()] {
        assert_eq!(
            answer(&mut caller, call)["error"]["message"],
            "not for this user"
        );
    }
    assert_eq!(answer(&mut caller, anybodys())["result"]["status"], 0);
    assert_eq!(answer(&mut caller, unknown())["error"]["code"], -32_602);
    assert_eq!(
        answer(&mut caller, login("alice", "a password"))["result"]["user"],
        "alice"
    );
    assert_eq!(answer(&mut caller, hers())["result"]["status"], 0);
    assert_eq!(
        answer(&mut caller, shell())["result"],
        result(3, "52\n", "")
    );

    let mut without = gateloop();
    without.args(["serve", "--handshake", "none", "--config", &config]);
    assert_error(&run(&mut without), 2, "--users says which file");
}

#[test]
fn the_table_of_the_readme_can_be_used() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let readme = readme.expect("the README");
    let (_, table) = readme.split_once("```toml\n").expect("an example");
    let (table, _) = table.split_once("```").expect("its end");
    let folder = Folder::new("exec-readme");
    let serving = Serving::start_open(&["--config", &folder.write("config.toml", table)]);
    let mut caller = Caller(serving.connect());
    for (args, code) in [
        (json!(["10; id"]), -32_602),
        (json!(["10", "/var/log/../x"]), -32_602),
    ] {
        assert_eq!(caller.code(&json!({"name": "log", "args": args})), code);
    }
    let methods = serving.connect().call("rpc.methods").to_string();
    assert!(
        methods.contains("\"exec\"") && !methods.contains("\"shell\""),
        "{methods}"
    );
}
