//! The keys about what a server says.

use http::HeaderName;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{
    InvalidConfig, names,
    read::{Place, once},
    value::Value,
};
use crate::policy::{ResetFormat, ResetHeader};

const FORMATS: [(&str, ResetFormat); 6] = [
    ("auto", ResetFormat::Auto),
    ("seconds", ResetFormat::Seconds),
    ("milliseconds", ResetFormat::Milliseconds),
    ("epoch", ResetFormat::Epoch),
    ("go_duration", ResetFormat::GoDuration),
    ("rfc3339", ResetFormat::Rfc3339),
];

const HEADERS: &str = "a list of header names, or of tables with `name`, `format` and `remaining`";

fn header(at: &Place, key: &str, value: &Value) -> Result<HeaderName, InvalidConfig> {
    let name = value.as_text().and_then(|name| name.parse().ok());
    name.ok_or_else(|| at.wrong(key, value, "the name of a header"))
}

/// `should_retry_header`: a name, or none.
pub(super) fn should_retry(
    at: &Place,
    key: &str,
    value: &Value,
) -> Result<Option<HeaderName>, InvalidConfig> {
    match value {
        Value::Null | Value::Bool(false) => Ok(None),
        value => match value.as_text().and_then(|name| name.parse().ok()) {
            Some(name) => Ok(Some(name)),
            None => Err(at.wrong(key, value, "the name of a header, or false (null) for none")),
        },
    }
}

/// `reset_headers`: names, or tables.
pub(super) fn resets(
    at: &Place,
    key: &str,
    value: Value,
) -> Result<Vec<ResetHeader>, InvalidConfig> {
    let list = at.list(key, value, HEADERS)?;
    let mut resets = Vec::new();
    for value in list {
        let reset = match value {
            Value::Table(entries) => reset(&at.table(key), entries)?,
            Value::Text(_) => ResetHeader::new(header(at, key, &value)?, ResetFormat::Auto),
            other => return Err(at.wrong(key, &other, HEADERS)),
        };
        resets.push(reset);
    }
    Ok(resets)
}

fn reset(at: &Place, entries: Vec<(String, Value)>) -> Result<ResetHeader, InvalidConfig> {
    let (mut name, mut format, mut remaining) = (None, None, None);
    for (key, value) in entries {
        let key = key.as_str();
        match key {
            "name" => once(&mut name, header(at, key, &value)?, at, key)?,
            "format" => once(&mut format, at.choice(key, &value, &FORMATS)?, at, key)?,
            "remaining" => once(&mut remaining, header(at, key, &value)?, at, key)?,
            unknown => return Err(names::unknown(at, unknown, ["name", "format", "remaining"])),
        }
    }
    let Some(name) = name else {
        return Err(InvalidConfig::conflict(at.name("name"), "is missing"));
    };
    let reset = ResetHeader::new(name, format.unwrap_or(ResetFormat::Auto));
    Ok(match remaining {
        Some(remaining) => reset.remaining(remaining),
        None => reset,
    })
}

/// As it is written.
pub(super) struct Written<'a>(pub(super) &'a ResetHeader);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let reset = self.0;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("name", reset.name().as_str())?;
        let format = FORMATS.iter().find(|(_, known)| *known == reset.format());
        map.serialize_entry("format", format.map_or("auto", |(name, _)| name))?;
        if let Some(remaining) = reset.remaining_name() {
            map.serialize_entry("remaining", remaining.as_str())?;
        }
        map.end()
    }
}

/// A header's name, or `false` for none.
pub(super) struct Named<'a>(pub(super) Option<&'a HeaderName>);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(name) => to.serialize_str(name.as_str()),
            None => to.serialize_bool(false),
        }
    }
}
