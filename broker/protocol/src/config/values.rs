//! A complete set of settings, checked, with the defaults filled in.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use super::{ConfigError, ConfigOption, Scope, Synonym, Value, lookup, options, validate, validate_dynamic};

/// Where a value is set, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// On the topic, group or subscription itself.
    Own,
    /// On one broker, at run time.
    DynamicBroker,
    /// On all brokers, at run time.
    DynamicDefault,
    /// In the file, or by `--set`.
    Static,
    Default,
}

const SCOPES: [Scope; 4] = [Scope::Broker, Scope::Topic, Scope::Group, Scope::ClientMetrics];

/// The layers that a broker's value may come from, the strongest first.
const BROKER_LAYERS: [Layer; 4] = [Layer::DynamicBroker, Layer::DynamicDefault, Layer::Static, Layer::Default];

/// The values of every option of one table.
#[derive(Debug, Clone)]
pub struct Values {
    scope: Scope,
    /// Settings of each option, the strongest first. Defaults are not included.
    entries: BTreeMap<&'static str, Vec<Entry>>,
}

#[derive(Debug, Clone)]
struct Entry {
    raw: String,
    value: Value,
    layer: Layer,
}

/// One of the sources of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The option's own name, or that of a broker option.
    pub name: &'static str,
    pub raw: &'a str,
    pub layer: Layer,
}

/// The effective value for a topic or group.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    pub value: Value,
    /// As DescribeConfigs prints it.
    pub raw: String,
    pub layer: Layer,
}

impl Values {
    /// Only defaults.
    pub fn defaults(scope: Scope) -> Self {
        Self { scope, entries: BTreeMap::new() }
    }

    /// Later settings win. Every error is returned, and the option keeps its former value; the caller decides which
    /// errors are fatal.
    pub fn parse<'a>(scope: Scope, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Self, Vec<ConfigError>) {
        let mut values = Self::defaults(scope);
        let errors = settings.into_iter().filter_map(|(name, raw)| values.set(name, raw).err()).collect();
        (values, errors)
    }

    /// Sets a broker's option as in its file, any other resource's on itself.
    pub fn set(&mut self, name: &str, raw: &str) -> Result<(), ConfigError> {
        let layer = if self.scope == Scope::Broker { Layer::Static } else { Layer::Own };
        let value = validate(self.scope, name, raw)?;
        self.insert(name, Entry { raw: canonical(&value, raw), value, layer });
        Ok(())
    }

    /// Sets a broker's option at run time. `layer` is one of the dynamic ones.
    pub fn set_dynamic(&mut self, layer: Layer, name: &str, raw: &str) -> Result<(), ConfigError> {
        let value = validate_dynamic(layer, name, raw)?;
        self.insert(name, Entry { raw: canonical(&value, raw), value, layer });
        Ok(())
    }

    fn insert(&mut self, name: &str, entry: Entry) {
        let Some(option) = lookup(self.scope, name) else { return };
        let entries = self.entries.entry(option.name).or_default();
        entries.retain(|other| other.layer != entry.layer);
        let place = entries.partition_point(|other| other.layer < entry.layer);
        entries.insert(place, entry);
    }

    fn strongest(&self, name: &str) -> Option<&Entry> {
        let set = self.entries.get(name).and_then(|entries| entries.first());
        set.or_else(|| default_entry(self.scope, name))
    }

    fn at(&self, layer: Layer, name: &str) -> Option<&Entry> {
        if layer == Layer::Default {
            return default_entry(self.scope, name);
        }
        self.entries.get(name)?.iter().find(|entry| entry.layer == layer)
    }

    /// The value that was set or the default. `None`: unset.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.strongest(name).map(|entry| &entry.value)
    }

    /// As [`Values::get`], in the form used in a file.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.strongest(name).map(|entry| entry.raw.as_str())
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The typed getters are for options that have a default of that type: `name` is a programmer's constant.
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

    /// Milliseconds; a negative number counts as none.
    pub fn get_millis(&self, name: &'static str) -> Duration {
        Duration::from_millis(u64::try_from(self.get_long(name)).unwrap_or(0))
    }

    /// A number of things or bytes; a negative one counts as none.
    pub fn get_count(&self, name: &'static str) -> usize {
        usize::try_from(self.get_long(name)).unwrap_or(0)
    }

    /// `None` if the option is unset.
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

    /// `None` if the option is unset.
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

/// The effective value for a topic or group: its own, otherwise that of its broker synonyms, otherwise its default. A
/// stronger layer of the broker overrides a weaker one, whichever synonym it sets. `None` for a name that is not an
/// option of `own`.
pub fn effective_value(own: &Values, broker: &Values, name: &str) -> Option<Effective> {
    let option = lookup(own.scope, name)?;
    if let Some((entry, synonym)) = candidates(own, broker, option).next() {
        let (value, raw) = scaled(entry, synonym.factor);
        return Some(Effective { value, raw, layer: entry.layer });
    }
    let default = own.at(Layer::Default, name)?;
    Some(Effective { value: default.value.clone(), raw: default.raw.clone(), layer: Layer::Default })
}

/// Every possible source of the option's value, the effective one first.
pub fn settings<'a>(own: &'a Values, broker: &'a Values, option: &'static ConfigOption) -> Vec<Setting<'a>> {
    candidates(own, broker, option).map(|(entry, synonym)| entry.setting(synonym.name)).collect()
}

/// As [`settings`], for a broker's option. Kafka includes options for the same in other units, but begins with the
/// option itself.
pub fn broker_settings<'a>(broker: &'a Values, option: &'static ConfigOption) -> Vec<Setting<'a>> {
    let has_it = |topic: &&ConfigOption| topic.synonyms.iter().any(|synonym| synonym.name == option.name);
    let family: Vec<_> = match options(Scope::Topic).find(has_it) {
        Some(topic) => topic.synonyms.iter().map(|synonym| synonym.name).collect(),
        None => vec![option.name],
    };
    let at = |layer: Layer, name: &'static str| Some(broker.at(layer, name)?.setting(name));
    let all = BROKER_LAYERS.iter().flat_map(|layer| family.iter().filter_map(|name| at(*layer, name)));
    all.skip_while(|setting| setting.name != option.name).collect()
}

fn candidates<'a>(
    own: &'a Values,
    broker: &'a Values,
    option: &'static ConfigOption,
) -> impl Iterator<Item = (&'a Entry, Synonym)> {
    debug_assert!(own.scope != Scope::Broker && broker.scope == Scope::Broker, "the broker's values come second");
    let itself = own.at(Layer::Own, option.name).map(|entry| (entry, Synonym { name: option.name, factor: 1 }));
    let inherited = BROKER_LAYERS.into_iter().flat_map(move |layer| {
        option.synonyms.iter().filter_map(move |synonym| Some((broker.at(layer, synonym.name)?, *synonym)))
    });
    itself.into_iter().chain(inherited)
}

impl Entry {
    fn setting(&self, name: &'static str) -> Setting<'_> {
        Setting { name, raw: &self.raw, layer: self.layer }
    }
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

fn default_entry(scope: Scope, name: &str) -> Option<&'static Entry> {
    static DEFAULTS: LazyLock<BTreeMap<Scope, BTreeMap<&str, Entry>>> = LazyLock::new(|| {
        let entry = |option: &'static ConfigOption| {
            let raw = option.default?.to_owned();
            let value = option.parse(&raw).ok()?;
            Some((option.name, Entry { raw, value, layer: Layer::Default }))
        };
        SCOPES.into_iter().map(|scope| (scope, options(scope).filter_map(entry).collect())).collect()
    });
    DEFAULTS.get(&scope)?.get(name)
}

/// The canonical text of a value.
fn canonical(value: &Value, raw: &str) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::List(list) => list.join(","),
        Value::Double(_) | Value::Text(_) => raw.trim().to_owned(),
    }
}

#[expect(clippy::panic, reason = "a name or type written in the source that the table does not have")]
fn wrong(name: &'static str, kind: &str) -> ! {
    panic!("the configuration table has no {kind} option {name} with a value")
}
