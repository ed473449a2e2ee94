//! `gateloop user`: who may log in, in a user file.

use std::fmt::Display;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use gateloop::limits::PASSWORD_BYTES_MAX;
use gateloop::service::users::{
    self, Fault, Refused, UserFile, Verdict, check_name, check_password, make_hash,
};
use zeroize::Zeroizing;

use super::{Failure, say};

const AFTER_HELP: &str = "\
The file is UTF-8 text, a user a line: `name | hash`; lines that begin with # are comments. What is
written is argon2id. A change leaves all other lines as they are, and is seen whole or not at all;
a running server notices it.

Exit codes: 0 done, 1 it could not be done, or the password is wrong, 2 wrong usage.

Example:
  gateloop user add --file users alice
  gateloop serve --service login --users users";

const ADD_HELP: &str = "\
The file is made if it is not there, for its owner alone.

Example:
  gateloop user add --file users alice
  gateloop user add --file users bob --password-stdin < password";

const PASSWD_HELP: &str = "\
Example:
  gateloop user passwd --file users alice";

const LIST_HELP: &str = "\
Prints a line for each user, in the order of the names: the name, and how its password is hashed.

Example:
  gateloop user list --file users";

const CHECK_HELP: &str = "\
Exit codes: 0 that is the password, 1 it is not, or there is no such user, 2 wrong usage.

Example:
  gateloop user check --file users alice && echo welcome";

const REMOVE_HELP: &str = "\
Example:
  gateloop user remove --file users alice";

/// Keep the file of those who may log in
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct User {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user
    #[command(after_help = ADD_HELP)]
    Add(WithPassword),
    /// Give a user another password
    #[command(after_help = PASSWD_HELP)]
    Passwd(WithPassword),
    /// Show who is in the file
    #[command(after_help = LIST_HELP)]
    List(InFile),
    /// Tell whether a password is a user's
    #[command(after_help = CHECK_HELP)]
    Check(WithPassword),
    /// Take a user out
    #[command(after_help = REMOVE_HELP)]
    Remove(Named),
}

#[derive(Debug, clap::Args)]
struct InFile {
    /// The user file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Named {
    #[command(flatten)]
    of: InFile,
    /// The user's name
    name: String,
}

#[derive(Debug, clap::Args)]
struct WithPassword {
    #[command(flatten)]
    user: Named,
    /// Read the password from standard input, where a newline at its end is not part of it. Without
    /// this, the terminal is asked for it and does not show it
    #[arg(long)]
    password_stdin: bool,
}

type Password = Zeroizing<String>;

pub(super) fn run(args: &User) -> Result<(), Failure> {
    match &args.action {
        Action::Add(args) => add(args),
        Action::Passwd(args) => passwd(args),
        Action::List(args) => list(&args.file),
        Action::Check(args) => check(args),
        Action::Remove(Named { of, name }) => {
            users::remove(&of.file, name).map_err(|error| refused(&of.file, name, &error))
        }
    }
}

fn add(args: &WithPassword) -> Result<(), Failure> {
    let Named { of, name } = &args.user;
    check_name(name).map_err(unusable)?;
    // Nobody is to type a password for nothing.
    if of.file.exists() && open(&of.file)?.users().contains(name) {
        return Err(refused(&of.file, name, &Refused::Taken));
    }
    let hash = make_hash(&args.new_password()?).map_err(unusable)?;
    users::add(&of.file, name, &hash).map_err(|error| refused(&of.file, name, &error))
}

fn passwd(args: &WithPassword) -> Result<(), Failure> {
    let Named { of, name } = &args.user;
    if !open(&of.file)?.users().contains(name) {
        return Err(refused(&of.file, name, &Refused::Unknown));
    }
    let hash = make_hash(&args.new_password()?).map_err(unusable)?;
    users::passwd(&of.file, name, &hash).map_err(|error| refused(&of.file, name, &error))
}

fn list(path: &Path) -> Result<(), Failure> {
    let users = open(path)?.users();
    let lines = users.list().into_iter();
    say(&lines
        .map(|(name, hash)| format!("{name} | {hash}\n"))
        .collect::<String>())
}

fn check(args: &WithPassword) -> Result<(), Failure> {
    let Named { of, name } = &args.user;
    let file = open(&of.file)?;
    if !file.users().contains(name) {
        return Err(refused(&of.file, name, &Refused::Unknown));
    }
    match file.check(name, &args.password()?) {
        Verdict::Wrong => Err(Failure::failed(format!("{name:?}: wrong password"))),
        Verdict::Right | Verdict::RightByMd5 => Ok(()),
    }
}

impl WithPassword {
    /// One that is to be set: what nobody sees is typed twice.
    fn new_password(&self) -> Result<Password, Failure> {
        let password = self.password()?;
        check_password(&password).map_err(unusable)?;
        if !self.password_stdin && *password != *prompt("Again: ")? {
            return Err(Failure::failed("the two passwords differ"));
        }
        Ok(password)
    }

    fn password(&self) -> Result<Password, Failure> {
        if self.password_stdin {
            from_stdin()
        } else {
            prompt("Password: ")
        }
    }
}

fn prompt(text: &str) -> Result<Password, Failure> {
    let typed = rpassword::prompt_password(text).map_err(|error| {
        Failure::failed(format!(
            "cannot ask a terminal for the password ({error}): is --password-stdin meant?"
        ))
    })?;
    Ok(Zeroizing::new(typed))
}

/// All of standard input, without the newline that editors and `echo` put at its end.
fn from_stdin() -> Result<Password, Failure> {
    // One byte more than is allowed, behind it the newline.
    let most = PASSWORD_BYTES_MAX as u64 + 1 + "\r\n".len() as u64;
    let mut password = Zeroizing::new(String::with_capacity(most as usize));
    io::stdin()
        .take(most)
        .read_to_string(&mut password)
        .map_err(|error| Failure::failed(format!("cannot read the password: {error}")))?;
    if password.ends_with('\n') {
        password.pop();
        if password.ends_with('\r') {
            password.pop();
        }
    }
    Ok(password)
}

fn open(path: &Path) -> Result<UserFile, Failure> {
    UserFile::open(path).map_err(|error| of_file(path, &error))
}

fn unusable(fault: Fault) -> Failure {
    Failure::usage(fault)
}

fn refused(path: &Path, name: &str, error: &Refused) -> Failure {
    match error {
        Refused::Taken | Refused::Unknown => {
            Failure::failed(format!("{}: {name:?}: {error}", path.display()))
        }
        _ => of_file(path, error),
    }
}

/// A failure that has to do with a file.
pub(super) fn of_file(path: &Path, error: &dyn Display) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}
