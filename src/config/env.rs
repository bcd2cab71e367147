//! Reads the variables of the environment.

use super::{
    InvalidConfig, RetryConfig,
    budget::{BudgetKeys, BudgetTable, COSTS},
    names,
    read::Place,
    value::Value,
};

/// Tables with policies of their own.
const TABLES: [&str; 2] = ["mounts", "candidate"];

impl RetryConfig {
    /// Reads the variables of this process whose names begin with `prefix`; see
    /// [`from_vars`](Self::from_vars).
    ///
    /// # Errors
    ///
    /// Those of [`from_vars`](Self::from_vars), and a variable that is not UTF-8.
    pub fn from_env(prefix: &str) -> Result<Self, InvalidConfig> {
        let mut vars = Vec::new();
        for (name, value) in std::env::vars_os() {
            let lossy = name.to_string_lossy().into_owned();
            if !lossy.starts_with(prefix) {
                continue;
            }
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => vars.push((name, value)),
                (_, value) => {
                    let value = value.unwrap_or_else(|value| value.to_string_lossy().into_owned());
                    return Err(InvalidConfig::value(
                        lossy,
                        format_args!("{value:?}"),
                        "UTF-8",
                    ));
                }
            }
        }
        Self::from_vars(prefix, vars)
    }

    /// Reads those of `vars` whose names begin with `prefix`, whose end is a key in upper case:
    /// `RETRY_TOTAL=5`, `RETRY_ALLOWED_METHODS=GET,POST`, `RETRY_READ=false`,
    /// `RETRY_BACKOFF_KIND=exponential`, `RETRY_BUDGET_RATIO=0.1`, `RETRY_BUDGET=false`.
    ///
    /// The keys are those of a document, tables being part of the name, and so are the values.
    /// Lists have commas between their elements. Mounts and candidates have no
    /// variables.
    ///
    /// ```
    /// use tower_http_retry::{config::RetryConfig, policy::Limit};
    ///
    /// let vars = [("RETRY_TOTAL", "5"), ("RETRY_STATUS_FORCELIST", "429, 503"), ("HOME", "/")];
    /// let policy = RetryConfig::from_vars("RETRY_", vars)?.build()?;
    /// assert_eq!(policy.total(), Limit::AtMost(5));
    /// assert!(policy.status_forcelist().eq([429, 503]));
    /// # Ok::<(), tower_http_retry::config::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A variable that begins with `prefix` and is unknown, or whose value is not allowed.
    pub fn from_vars<N, V>(
        prefix: &str,
        vars: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, InvalidConfig>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let at = Place::environment(prefix);
        let mut config = Self::default();
        let mut budget: Option<BudgetTable> = None;
        for (name, value) in vars {
            let Some(key) = name.as_ref().strip_prefix(prefix) else {
                continue;
            };
            let key = key.to_ascii_lowercase();
            let value = Value::of_text(value.as_ref());
            let split = |table| key.strip_prefix(table);
            if TABLES.contains(&&*key) {
                let why = match &*key {
                    "mounts" => "mounts have no variables; they are written in a document",
                    _ => "a candidate has no variables; it is written in a document",
                };
                return Err(InvalidConfig::unknown(name.as_ref(), why));
            } else if names::top().any(|known| known == key) {
                config.set(&at, &key, value)?;
            } else if let Some(kind) = split("budget_cost_").filter(|kind| COSTS.contains(kind)) {
                let at = at.table("budget").table("cost");
                let table = budget.get_or_insert_with(BudgetTable::default);
                table.set_cost(&at, kind, &value)?;
            } else if let Some(key) = split("budget_").filter(|key| names::BUDGET.contains(key)) {
                let table = budget.get_or_insert_with(BudgetTable::default);
                table.set(&at.table("budget"), key, value)?;
            } else if let Some(key) = split("backoff_").filter(|key| names::BACKOFF.contains(key)) {
                let table = at.table("backoff");
                config.policy.backoff().set(&table, key, value)?;
            } else {
                let all = all();
                return Err(names::unknown(&at, &key, all.iter().map(String::as_str)));
            }
        }
        if let Some(table) = budget {
            let off = config.policy.budget.replace(BudgetKeys::Table(table));
            if off.is_some() {
                let why = "switches off what other variables set";
                return Err(InvalidConfig::conflict(at.name("budget"), why));
            }
        }
        Ok(config)
    }
}

/// The keys of all variables.
fn all() -> Vec<String> {
    let top = names::top()
        .filter(|key| !TABLES.contains(key))
        .map(str::to_owned);
    let backoff = names::BACKOFF.iter().map(|key| format!("backoff_{key}"));
    let budget = names::BUDGET.iter().map(|key| format!("budget_{key}"));
    let costs = COSTS.iter().map(|kind| format!("budget_cost_{kind}"));
    top.chain(backoff).chain(budget).chain(costs).collect()
}
