//! serde forms of types that have none of their own.

/// A method as its name.
pub(crate) mod method {
    use http::Method;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(method: &Method, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(method.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Method, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Method::from_bytes(name.as_bytes())
            .map_err(|_| D::Error::custom(format_args!("`{name}` is not a method name")))
    }
}

/// A status as its number.
pub(crate) mod status {
    use http::StatusCode;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(status.as_u16())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StatusCode, D::Error> {
        let code = u16::deserialize(from)?;
        StatusCode::from_u16(code)
            .map_err(|_| D::Error::custom(format_args!("{code} is not a status in 100..=999")))
    }
}

/// A duration as a number of seconds.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(duration.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        duration(f64::deserialize(from)?).map_err(D::Error::custom)
    }

    /// The duration that was written as `seconds`.
    pub(crate) fn duration(seconds: f64) -> Result<Duration, String> {
        // What the longest durations are as a float is one more than the longest duration.
        if seconds == Duration::MAX.as_secs_f64() {
            return Ok(Duration::MAX);
        }
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("{seconds} is not a number of seconds"))
    }
}
