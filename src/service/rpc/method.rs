//! Methods: what one is given, the table of them all, and how it is searched.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::exec::Prepared;
use super::response::RpcError;
use crate::service::{Caller, Logins};
use crate::stats::Stats;

/// One call of a method: its parameters, and who calls.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub(super) params: Option<&'a str>,
    pub(super) context: &'a Context<'a>,
    pub(super) user: Option<&'a str>,
}

/// What all calls of a message have in common.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) stats: &'a Stats,
    pub(super) table: &'a Table,
}

impl<'a> Call<'a> {
    /// The same call by somebody who has logged in.
    pub(super) fn by(self, user: Option<&'a str>) -> Self {
        Self { user, ..self }
    }

    /// The parameters as a `T`: a tuple or an array takes them by position, a struct both by
    /// position and by name, a map by name. Absent parameters are an `Option`'s `None`.
    ///
    /// # Errors
    /// [`RpcError::INVALID_PARAMS`] if they are anything else.
    pub fn params<T: Deserialize<'a>>(&self) -> Result<T, RpcError> {
        let json = self.params.unwrap_or("null");
        // What serde says of the failure quotes the peer's bytes; `data` says what is wanted.
        serde_json::from_str(json).map_err(|_| RpcError::INVALID_PARAMS)
    }

    /// The JSON text of the parameters, an array or an object, byte for byte.
    #[must_use]
    pub fn raw_params(&self) -> Option<&'a str> {
        self.params
    }

    /// For methods without parameters, which may still be given as `[]` or `{}`.
    ///
    /// # Errors
    /// [`RpcError::INVALID_PARAMS`] if there are any.
    pub fn no_params(&self) -> Result<(), RpcError> {
        let Some(json) = self.params else {
            return Ok(());
        };
        let inside = json.get(1..json.len() - 1).unwrap_or_default();
        if inside.trim_ascii().is_empty() {
            Ok(())
        } else {
            Err(RpcError::INVALID_PARAMS)
        }
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> Caller<'a> {
        self.context.caller
    }

    /// Who has logged in on this connection; `None` if nobody has.
    #[must_use]
    pub fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The server's counters.
    #[must_use]
    pub fn stats(&self) -> &'a Stats {
        self.context.stats
    }
}

/// Work that appends a result's JSON.
pub(super) type Work = Box<dyn FnOnce(&mut Vec<u8>) -> Result<(), RpcError> + Send>;

/// A method that is run on the spot.
pub(super) type Now = dyn Fn(&Call<'_>, &mut Vec<u8>) -> Result<(), RpcError> + Send + Sync;
/// A method that returns its work.
pub(super) type Later = dyn Fn(&Call<'_>) -> Result<Work, RpcError> + Send + Sync;

/// A method that returns a program to run.
pub(super) type Prepare = dyn Fn(&Call<'_>) -> Result<Prepared, RpcError> + Send + Sync;

/// How a method is run.
#[derive(Clone)]
pub(super) enum Run {
    /// On the spot: the result's JSON is appended.
    Now(Arc<Now>),
    /// Elsewhere: what is returned is the work.
    Later(Arc<Later>),
    /// As a program: what is returned says which.
    Program(Arc<Prepare>),
    /// It changes who the caller is.
    Login(Logins),
    /// It makes the caller nobody.
    Logout,
}

impl Run {
    /// A method that writes its result itself.
    pub(super) fn raw(
        run: impl Fn(&Call<'_>, &mut Vec<u8>) -> Result<(), RpcError> + Send + Sync + 'static,
    ) -> Self {
        Self::Now(Arc::new(run))
    }

    /// A method that returns a value.
    pub(super) fn now<R: Serialize>(
        run: impl Fn(&Call<'_>) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> Self {
        Self::Now(Arc::new(move |call, out| serialise(out, &run(call)?)))
    }

    /// A method that returns work that returns a value.
    pub(super) fn later<R, J>(
        prepare: impl Fn(&Call<'_>) -> Result<J, RpcError> + Send + Sync + 'static,
    ) -> Self
    where
        R: Serialize,
        J: FnOnce() -> Result<R, RpcError> + Send + 'static,
    {
        Self::Later(Arc::new(move |call| {
            let job = prepare(call)?;
            Ok(Box::new(move |out: &mut Vec<u8>| serialise(out, &job()?)))
        }))
    }
}

/// Appends a result. What cannot be JSON (a map whose keys are no strings) is the method's fault.
fn serialise(out: &mut Vec<u8>, result: &impl Serialize) -> Result<(), RpcError> {
    serde_json::to_writer(out, result).map_err(|_| RpcError::INTERNAL_ERROR)
}

/// A method by name.
#[derive(Clone)]
pub(super) struct Method {
    pub(super) name: &'static str,
    /// What its parameters are, in a line.
    pub(super) params: &'static str,
    /// What it does, in a line.
    pub(super) help: &'static str,
    pub(super) run: Run,
    /// Whether a datagram may call it.
    pub(super) in_datagrams: bool,
}

impl Method {
    pub(super) fn new(
        name: &'static str,
        params: &'static str,
        help: &'static str,
        run: Run,
    ) -> Self {
        Self {
            name,
            params,
            help,
            run,
            in_datagrams: false,
        }
    }

    /// Lets datagrams call it. It must run on the spot, need no connection, and do no harm when a
    /// datagram is lost, late or out of order.
    pub(super) fn in_datagrams(self) -> Self {
        Self {
            in_datagrams: true,
            ..self
        }
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All methods, sorted by the length of their names and then by name: most comparisons then look at
/// no byte of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Vec<Method>);

impl Table {
    /// Adds a method.
    ///
    /// # Panics
    /// If the name is taken.
    pub(super) fn add(&mut self, method: Method) {
        match self.search(method.name) {
            Ok(_) => panic!("there is a method `{}` already", method.name),
            Err(place) => self.0.insert(place, method),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Method> {
        self.search(name).ok().and_then(|place| self.0.get(place))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.iter()
    }

    fn search(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|method| {
            let by_length = method.name.len().cmp(&name.len());
            by_length.then_with(|| method.name.cmp(name))
        })
    }
}
