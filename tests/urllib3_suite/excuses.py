"""Which of urllib3's tests need not pass, and by which rule."""

# What is Python's own, and what this crate does otherwise on purpose (`RetryPolicy`, "Deviations").
RULES = {
    "other types": "to Python a value of another type is merely unequal to every status; here it is "
    "an error that names the argument and the value",
    "empty method set": "urllib3 takes it for any method, warns with Python's FutureWarning, and "
    "will take it for none in its version 3; here a policy's empty set means none, and the importer, "
    "which reads it as urllib3 does, has no warnings of Python's",
    "lenient date": "Python reads any mail-like date; here only the three forms of RFC 9110 count, "
    "and another one is reported instead of guessed",
}

SLEEP = "test/test_retry.py::TestRetry::test_respect_retry_after_header_sleep"

EXCUSES = {
    "test/test_retry.py::TestRetry::test_status_forcelist": "other types",
    # A mocked response, whose status is a text.
    "test/test_connectionpool.py::TestConnectionPool"
    "::test_release_conn_param_is_respected_after_http_error_retry": "other types",
    "test/test_retry.py::TestRetry::test_empty_allowed_methods": "empty method set",
    # A day of one digit, and a zone that is not GMT.
    SLEEP + "[UTC-Mon, 3 Jun 2019 12:00:00 UTC-True-3600]": "lenient date",
    SLEEP + "[Asia/Jerusalem-Mon, 3 Jun 2019 12:00:00 UTC-True-3600]": "lenient date",
    SLEEP + "[None-Mon, 3 Jun 2019 12:00:00 UTC-True-3600]": "lenient date",
}
