//! A whole set of settings, checked, with the defaults filled in.

use std::collections::BTreeMap;

use super::{ConfigError, ConfigOption, Scope, Value, lookup, options, validate};

/// The values of every option of one table.
#[derive(Debug, Clone)]
pub struct Values {
    scope: Scope,
    entries: BTreeMap<&'static str, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    raw: String,
    value: Value,
    source: EntrySource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntrySource {
    Default,
    Set,
}

/// Where the value of a topic's option comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Topic,
    /// The broker option of this name.
    Broker(&'static str),
    Default,
}

/// What holds for one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    pub value: Value,
    /// As DescribeConfigs prints it.
    pub raw: String,
    pub source: Source,
}

impl Values {
    /// Nothing but defaults.
    pub fn defaults(scope: Scope) -> Self {
        let entries = options(scope).filter_map(|option| Some((option.name, default_entry(option)?))).collect();
        Self { scope, entries }
    }

    /// Later settings win. Every fault is reported, and the option keeps its former value; which faults are fatal is
    /// the caller's to decide.
    pub fn parse<'a>(scope: Scope, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Self, Vec<ConfigError>) {
        let mut values = Self::defaults(scope);
        let errors = settings.into_iter().filter_map(|(name, raw)| values.set(name, raw).err()).collect();
        (values, errors)
    }

    pub fn set(&mut self, name: &str, raw: &str) -> Result<(), ConfigError> {
        let value = validate(self.scope, name, raw)?;
        if let Some(option) = lookup(self.scope, name) {
            let entry = Entry { raw: raw.trim().to_owned(), value, source: EntrySource::Set };
            self.entries.insert(option.name, entry);
        }
        Ok(())
    }

    /// The value that was set or the default. `None`: unset.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// As [`Values::get`], in the form of a file.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|entry| entry.raw.as_str())
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.source == EntrySource::Set)
    }

    /// The typed getters are for options that have a default of that type: `name` is the programmer's.
    pub fn get_bool(&self, name: &'static str) -> bool {
        let Some(Value::Bool(value)) = self.get(name) else { wrong(name, "boolean") };
        *value
    }

    pub fn get_int(&self, name: &'static str) -> i32 {
        i32::try_from(self.get_long(name)).unwrap_or_else(|_| wrong(name, "32-bit"))
    }

    pub fn get_long(&self, name: &'static str) -> i64 {
        self.find_long(name).unwrap_or_else(|| wrong(name, "number"))
    }

    /// `None` where the option is unset.
    pub fn find_long(&self, name: &'static str) -> Option<i64> {
        match self.get(name) {
            Some(Value::Number(value)) => Some(*value),
            None => None,
            Some(_) => wrong(name, "number"),
        }
    }

    pub fn get_double(&self, name: &'static str) -> f64 {
        let Some(Value::Double(value)) = self.get(name) else { wrong(name, "double") };
        *value
    }

    /// `None` where the option is unset.
    pub fn get_string(&self, name: &'static str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            None => None,
            Some(_) => wrong(name, "string"),
        }
    }

    pub fn get_list(&self, name: &'static str) -> &[String] {
        match self.get(name) {
            Some(Value::List(list)) => list,
            None => &[],
            Some(_) => wrong(name, "list"),
        }
    }
}

/// The topic's own value, else that of the first broker synonym that is set, else the broker's default, else the
/// topic's. `None` for a name that is no topic option.
pub fn effective_topic_value(topic: &Values, broker: &Values, name: &str) -> Option<Effective> {
    debug_assert_eq!((topic.scope, broker.scope), (Scope::Topic, Scope::Broker), "topic first, broker second");
    let option = lookup(Scope::Topic, name)?;
    let own = topic.entries.get(name)?;
    if own.source == EntrySource::Set {
        return Some(Effective { value: own.value.clone(), raw: own.raw.clone(), source: Source::Topic });
    }
    for synonym in option.synonyms.iter().filter(|synonym| broker.is_set(synonym.name)) {
        if let Some(entry) = broker.entries.get(synonym.name) {
            let (value, raw) = scaled(entry, synonym.factor);
            return Some(Effective { value, raw, source: Source::Broker(synonym.name) });
        }
    }
    Some(Effective { value: own.value.clone(), raw: own.raw.clone(), source: Source::Default })
}

/// Negative means unlimited in every unit.
fn scaled(entry: &Entry, factor: i64) -> (Value, String) {
    match entry.value {
        Value::Number(number) if factor != 1 => {
            let number = if number < 0 { -1 } else { number.saturating_mul(factor) };
            (Value::Number(number), number.to_string())
        }
        _ => (entry.value.clone(), entry.raw.clone()),
    }
}

fn default_entry(option: &ConfigOption) -> Option<Entry> {
    let raw = option.default?.to_owned();
    Some(Entry { value: option.parse(&raw).ok()?, raw, source: EntrySource::Default })
}

#[expect(clippy::panic, reason = "a name or type written in the source that the table does not have")]
fn wrong(name: &'static str, kind: &str) -> ! {
    panic!("the configuration table has no {kind} option {name} with a value")
}
