//! What a message asks: JSON is taken apart into requests, without copying or judging its values.
//!
//! A message is looked at once, by `serde_json`'s skipping parser, which is iterative: depth costs
//! a byte a level and no stack. Only then is it decided whether the members make a request, so
//! that a syntax error and an invalid request can never be taken for one another.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Deserialize, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::response::{Refused, RpcError};
use crate::limits::RPC_BATCH_REQUESTS_MAX;

/// A message that is JSON, and at least might be answered with more than one error.
#[derive(Debug)]
pub(super) enum Incoming<'a> {
    /// One request.
    One(Request<'a>),
    /// The members of a batch, at least one, unjudged.
    Batch(Vec<&'a RawValue>),
}

impl<'a> Incoming<'a> {
    /// Reads a message. The error is the whole answer.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Refused<'a>> {
        let parse_error = Refused::anonymous(RpcError::PARSE_ERROR);
        let Ok(text) = std::str::from_utf8(message) else {
            return Err(parse_error);
        };
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') => match members(text) {
                Ok(members) => members.check().map(Self::One),
                Err(_) => Err(parse_error),
            },
            Some(b'[') => match whole(text, |json| json.deserialize_seq(BatchVisitor)) {
                Ok(Batch { count: 0, .. }) => Err(Refused::anonymous(RpcError::INVALID_REQUEST)),
                Ok(Batch { count, .. }) if count > RPC_BATCH_REQUESTS_MAX => {
                    Err(Refused::anonymous(RpcError::batch_too_long()))
                }
                Ok(Batch { members, .. }) => Ok(Self::Batch(members)),
                Err(_) => Err(parse_error),
            },
            _ => match whole(text, |json| IgnoredAny::deserialize(json)) {
                Ok(_) => Err(Refused::anonymous(RpcError::INVALID_REQUEST)),
                Err(_) => Err(parse_error),
            },
        }
    }
}

/// A valid request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The method's name. `None`: a string that is not text (it has half a surrogate pair), and so
    /// is no method's name.
    pub(super) method: Option<Cow<'a, str>>,
    /// The JSON text of an array or an object.
    pub(super) params: Option<&'a str>,
    /// The JSON text of a string, a number or null, as it was written. `None`: a notification.
    pub(super) id: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Reads a member of a batch.
    pub(super) fn member(member: &'a RawValue) -> Result<Self, Refused<'a>> {
        // Any other value is known to be valid JSON, and not an object.
        match members(member.get()) {
            Ok(members) => members.check(),
            Err(_) => Err(Refused::anonymous(RpcError::INVALID_REQUEST)),
        }
    }
}

/// Has `read` take a value that must be all of `text`.
fn whole<'a, T>(
    text: &'a str,
    read: impl FnOnce(&mut Deserializer<serde_json::de::StrRead<'a>>) -> serde_json::Result<T>,
) -> serde_json::Result<T> {
    let mut json = Deserializer::from_str(text);
    let value = read(&mut json)?;
    json.end()?;
    Ok(value)
}

/// One of a request's members.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    /// What a string says that has no escapes.
    Text(&'a str),
    /// Its JSON text.
    Json(&'a str),
}

impl<'a> Value<'a> {
    fn is_string(self) -> bool {
        match self {
            Self::Text(_) => true,
            Self::Json(json) => json.starts_with('"'),
        }
    }

    /// What a string says; `None` if it is another value, or not text.
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Json(json) => serde_json::from_str(json).ok().map(Cow::Owned),
        }
    }
}

/// What is known of one of a request's members.
#[derive(Clone, Copy, Debug, Default)]
enum Member<V> {
    #[default]
    Absent,
    Once(V),
    /// Which of them counts is anybody's guess, so none does.
    Repeated,
}

/// An object's members, as far as they mean anything in a request.
#[derive(Debug, Default)]
struct Members<'a> {
    jsonrpc: Member<Value<'a>>,
    method: Member<Value<'a>>,
    params: Member<&'a str>,
    id: Member<&'a str>,
}

impl<V> Member<V> {
    fn put(&mut self, value: V) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }
}

impl<'a> Members<'a> {
    /// Whether they make a request. If they do not, and the id at least is one, it is told apart
    /// by its id.
    fn check(self) -> Result<Request<'a>, Refused<'a>> {
        let id = match self.id {
            Member::Absent => None,
            Member::Once(id) if is_id(id) => Some(id),
            _ => return Err(Refused::anonymous(RpcError::INVALID_REQUEST)),
        };
        let valid_version = match self.jsonrpc {
            Member::Once(version) => version.text().as_deref() == Some("2.0"),
            Member::Absent | Member::Repeated => false,
        };
        match (valid_version, self.method, self.params) {
            (true, Member::Once(method), Member::Absent) if method.is_string() => Ok(Request {
                method: method.text(),
                params: None,
                id,
            }),
            (true, Member::Once(method), Member::Once(params))
                if method.is_string() && params.starts_with(['[', '{']) =>
            {
                Ok(Request {
                    method: method.text(),
                    params: Some(params),
                    id,
                })
            }
            _ => Err(Refused::new(
                id.unwrap_or("null"),
                RpcError::INVALID_REQUEST,
            )),
        }
    }
}

/// Whether a JSON value is a string, a number or null: its first byte tells.
fn is_id(json: &str) -> bool {
    matches!(
        json.as_bytes().first(),
        Some(b'"' | b'-' | b'0'..=b'9' | b'n')
    )
}

/// What a member is called.
#[derive(Clone, Copy, Debug)]
enum Name {
    Jsonrpc,
    Method,
    Params,
    Id,
    Other,
}

impl Name {
    fn of(name: &str) -> Self {
        match name {
            "jsonrpc" => Self::Jsonrpc,
            "method" => Self::Method,
            "params" => Self::Params,
            "id" => Self::Id,
            _ => Self::Other,
        }
    }
}

/// Reads a name without keeping it.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name;

    fn deserialize<D: serde::Deserializer<'de>>(self, name: D) -> Result<Name, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name::of(name))
    }
}

/// Reads an object, first as almost all are: its names are text, `jsonrpc` and `method` are strings
/// without escapes. What is not is read again as raw values, which take twice as long.
fn members(json: &str) -> serde_json::Result<Members<'_>> {
    let read = |raw| whole(json, |json| json.deserialize_map(MembersVisitor { raw }));
    read(false).or_else(|_| read(true))
}

struct MembersVisitor {
    raw: bool,
}

impl MembersVisitor {
    /// What should be a string.
    fn string<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Value<'de>, A::Error> {
        if self.raw {
            let json = map.next_value::<&RawValue>()?;
            Ok(Value::Json(json.get()))
        } else {
            map.next_value().map(Value::Text)
        }
    }
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        // A name that is not text (it has half a surrogate pair) is legal JSON, and none of ours.
        let raw = |name: &RawValue| {
            let name = Value::Json(name.get()).text();
            name.map_or(Name::Other, |name| Name::of(&name))
        };
        while let Some(name) = match self.raw {
            false => map.next_key_seed(NameSeed)?,
            true => map.next_key::<&RawValue>()?.map(raw),
        } {
            match name {
                Name::Jsonrpc => members.jsonrpc.put(self.string(&mut map)?),
                Name::Method => members.method.put(self.string(&mut map)?),
                Name::Params => members.params.put(map.next_value::<&RawValue>()?.get()),
                Name::Id => members.id.put(map.next_value::<&RawValue>()?.get()),
                Name::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}

/// A batch's members, as many as are allowed, and how many there are.
struct Batch<'a> {
    members: Vec<&'a RawValue>,
    count: usize,
}

struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Batch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while members.len() < RPC_BATCH_REQUESTS_MAX {
            match seq.next_element::<&RawValue>()? {
                Some(member) => members.push(member),
                None => {
                    return Ok(Batch {
                        count: members.len(),
                        members,
                    });
                }
            }
        }
        // What follows is only counted, but must be JSON all the same.
        let mut count = members.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Batch { members, count })
    }
}
