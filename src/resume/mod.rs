//! Goes on with a download whose body broke.
