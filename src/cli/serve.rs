//! `gateloop serve`: runs the server until a signal stops it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use clap::builder::{BoolishValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use gateloop::address::{Address, UdpAddress};
use gateloop::limits;
use gateloop::protocol::FramingKind;
use gateloop::server::{BindError, Config, Model, Server};
use gateloop::service::rpc::{ExecRules, Rpc};
use gateloop::service::users::UserFile;
use gateloop::service::{Echo, Login, Logins, Service};

use super::key::MadeUp;
use super::{Failure, descriptors, key, log, say, signals, user};

const AFTER_HELP: &str = "\
Each flag --some-name can also be given as the variable GATELOOP_SOME_NAME or as the key
some-name of the TOML file that --config names; a flag goes before a variable, a variable before
the file. Only the key itself is read from nowhere but --authkey-file or GATELOOP_AUTHKEY; with
neither, one is made up, and printed. Which programs callers may have run, if any, is said in the
file alone, by its table [exec].

The first SIGTERM or SIGINT answers what has been asked and stops; a second one stops at once.
SIGHUP reads the user file anew, which also happens when it has changed.

Exit codes: 0 stopped, 1 failed or had to cut somebody off, 2 wrong usage.

Example:
  (umask 077; head -c 32 /dev/urandom | base64 > key)
  gateloop serve --listen 127.0.0.1:9090 --authkey-file key --max-connections 500
  gateloop call 127.0.0.1:9090 ping --authkey-file key";

/// Run the server
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Serve {
    /// Where to listen: HOST:PORT or unix:PATH. Can be repeated, or separated by commas
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:9090"
    )]
    listen: Vec<Address>,
    /// Where to serve datagrams besides, proved with the handshake's key: HOST:PORT. Can be
    /// repeated, or separated by commas
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    udp: Vec<UdpAddress>,
    /// What a message means
    #[arg(long, value_enum, default_value_t = ServiceName::Rpc)]
    service: ServiceName,
    /// Where a message ends
    #[arg(long, value_parser = super::framing(FramingKind::ALL), default_value_t)]
    framing: FramingKind,
    /// Who may log in: lines of `name | hash`, see `gateloop user`. For --service login, and for
    /// the methods login and logout of --service rpc
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Replace the MD5 of who logs in by argon2id, in the user file
    #[arg(long, requires = "users", value_parser = BoolishValueParser::new())]
    upgrade_hashes: bool,
    /// How it waits for its clients
    #[arg(long, value_parser = models(), default_value_t)]
    model: Model,
    /// Event loops, a thread each; for --model reactor alone
    #[arg(long, value_name = "N", default_value = "1")]
    reactors: NonZeroUsize,
    /// The kernel's queue of connections that wait to be accepted
    #[arg(long, value_name = "N", default_value_t = limits::BACKLOG)]
    backlog: u32,
    /// Allow --handshake none on addresses that other machines can reach
    #[arg(long, value_parser = BoolishValueParser::new())]
    insecure: bool,
    /// A TOML file with any of these settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the log is written to standard error. RUST_LOG=error|warn|info|debug|trace says how
    /// much; without it, info
    #[arg(long, value_enum, default_value_t = log::Format::Text)]
    log_format: log::Format,
    /// Which programs callers may have run: the table `[exec]` of the file.
    #[arg(skip)]
    pub(super) exec: ExecRules,
    #[command(flatten)]
    handshake: key::HandshakeArgs,
    #[command(flatten)]
    limits: super::limits::LimitArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ServiceName {
    /// JSON-RPC 2.0
    Rpc,
    /// The same bytes back
    Echo,
    /// A name and a password, and whether they are a user's
    Login,
}

/// The models by their names, with what each is good and bad at.
fn models() -> impl TypedValueParser<Value = Model> {
    let values = Model::ALL.map(|model| PossibleValue::new(model.name()).help(model.about()));
    PossibleValuesParser::new(values).map(|name| {
        let mut models = Model::ALL.into_iter();
        models
            .find(|model| model.name() == name)
            .unwrap_or_default()
    })
}

pub(super) fn run(args: &Serve) -> Result<(), Failure> {
    log::start(args.log_format)?;
    let mut limits = args.limits.limits();
    let reactors = args.reactors.get();
    descriptors::fit(
        &mut limits,
        args.limits.connections_given(),
        reactors,
        args.listen.len() + args.udp.len(),
        !args.exec.is_empty(),
    )?;
    limits.strangers_max = args.limits.strangers_max(limits.connections_max);
    let users = args.users()?;
    let (handshake, made_up) = args.handshake.server_rules()?;
    let config = Config {
        listen: args.listen.clone(),
        udp: args.udp.clone(),
        handshake,
        framing: args.framing,
        limits,
        model: args.model,
        reactors,
        backlog: args.backlog,
        insecure: args.insecure,
    };
    if !args.exec.is_empty() {
        args.check_exec()?;
    }
    let logins = |file: &Arc<UserFile>| Logins::new(Arc::clone(file), args.upgrade_hashes);
    match (args.service, users) {
        (ServiceName::Rpc | ServiceName::Login, _) if args.framing == FramingKind::Raw => {
            Err(Failure::usage(
                "--framing raw has no messages, and so no requests: only --service echo can be \
                 behind it",
            ))
        }
        (ServiceName::Rpc, users) => {
            let exec = ExecRules {
                login: users.is_some(),
                ..args.exec.clone()
            };
            let mut rpc = Rpc::new().with_exec(exec).map_err(Failure::usage)?;
            if let Some(users) = &users {
                rpc = rpc.with_logins(logins(users));
            }
            serve(config, rpc, made_up, users)
        }
        (ServiceName::Login, Some(users)) => {
            serve(config, Login::new(logins(&users)), made_up, Some(users))
        }
        (ServiceName::Login, None) => Err(Failure::usage(
            "--service login needs --users: a file of those who may, see `gateloop user`",
        )),
        (ServiceName::Echo, None) => serve(config, Echo, made_up, None),
        (ServiceName::Echo, Some(_)) => Err(Failure::usage(
            "nobody can log in to --service echo: --users is for login and rpc",
        )),
    }
}

impl Serve {
    /// Whether commands can run beside the other settings.
    fn check_exec(&self) -> Result<(), Failure> {
        if !matches!(self.service, ServiceName::Rpc) {
            return Err(Failure::usage(
                "[exec] adds methods to --service rpc: no other service runs commands",
            ));
        }
        if self.model != Model::Reactor {
            return Err(Failure::usage(
                "[exec] needs --model reactor: no other model watches commands beside clients",
            ));
        }
        if self.users.is_none() && self.exec.names_users() {
            return Err(Failure::usage(
                "[exec] names users: --users says which file they are in",
            ));
        }
        Ok(())
    }

    fn users(&self) -> Result<Option<Arc<UserFile>>, Failure> {
        let open = |path: &PathBuf| {
            let file = UserFile::open(path).map_err(|error| user::of_file(path, &error))?;
            Ok(Arc::new(file))
        };
        self.users.as_ref().map(open).transpose()
    }
}

fn serve<S: Service>(
    config: Config,
    service: S,
    made_up: Option<MadeUp>,
    users: Option<Arc<UserFile>>,
) -> Result<(), Failure> {
    let (name, handshake) = (service.name(), config.handshake.name());
    let (framing, limits) = (config.framing, config.limits.clone());
    let (model, reactors) = (config.model, config.reactors);
    let server = Server::bind(config, service).map_err(|error| match error {
        BindError::Config(_) => Failure::usage(error),
        _ => Failure::failed(error),
    })?;
    signals::watch(server.stop_handle(), users)
        .map_err(|error| Failure::failed(format!("cannot watch for signals: {error}")))?;
    let streams = server.addresses().iter().map(ToString::to_string);
    let datagrams = server.udp_addresses().iter().map(ToString::to_string);
    let addresses: Vec<_> = streams.chain(datagrams).collect();
    let introduction = made_up
        .map(|key| {
            // Python's `multiprocessing` knows no other.
            let paste = handshake == "mutual" && framing == FramingKind::I32Be;
            introduction(&key, &server.addresses()[0], paste)
        })
        .unwrap_or_default();
    // In one piece: whoever reads a line of it has the others, too.
    say(&format!(
        "{}listening on {}\n",
        introduction,
        addresses.join("\nlistening on ")
    ))?;
    tracing::info!(
        ?addresses, service = name, handshake, %framing, %model, reactors, ?limits, "ready"
    );
    match server.run().map_err(Failure::failed)?.cut {
        0 => Ok(()),
        1 => Err(Failure::failed(
            "1 connection was cut off before it had all that it was owed",
        )),
        cut => Err(Failure::failed(format!(
            "{cut} connections were cut off before they had all that they were owed"
        ))),
    }
}

/// What is said once about a made-up key; a script finds it behind `authkey: `. With a line to
/// `paste` where Python's `multiprocessing` speaks handshake and framing.
fn introduction(MadeUp(key): &MadeUp, address: &Address, paste: bool) -> String {
    let key = key.as_str();
    let mut text = format!(
        "authkey: {key}\n\
         This key was made up for this run. To keep one, give --authkey-file or GATELOOP_AUTHKEY.\n"
    );
    // It knows no IPv6.
    let address = match address {
        Address::Tcp(address) if address.is_ipv6() => None,
        Address::Tcp(address) if address.ip().is_unspecified() => {
            Some(format!("(\"127.0.0.1\", {})", address.port()))
        }
        Address::Tcp(address) => Some(format!("(\"{}\", {})", address.ip(), address.port())),
        Address::Unix(path) => Some(format!("{path:?}")),
    };
    if let Some(address) = address.filter(|_| paste) {
        text += &format!(
            "To paste into Python:\n\
             from multiprocessing.connection import Client; \
             c = Client({address}, authkey=b\"{key}\"); \
             c.send_bytes(b'{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}'); \
             print(c.recv_bytes())\n"
        );
    }
    text
}
