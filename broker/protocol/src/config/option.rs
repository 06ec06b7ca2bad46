//! One row of the table, and how its values are parsed.

use super::{ConfigError, Value};

/// One option. Rows are written with the constructors below: `int("num.partitions", "1", "…").min(1)`.
#[derive(Debug, Clone, Copy)]
pub struct ConfigOption {
    pub name: &'static str,
    pub kind: Kind,
    /// As written in a file. `None`: unset.
    pub default: Option<&'static str>,
    /// Smallest number; `max` is the largest.
    pub min: i64,
    pub max: i64,
    /// Accepted words, for a list its elements; empty: any.
    pub choices: &'static [&'static str],
    /// For a list: the rule for each element.
    pub element: Option<Element>,
    pub dynamic: Dynamic,
    pub effect: Effect,
    /// For a topic or group option: the broker options that supply its value if it is not set, in order.
    pub synonyms: &'static [Synonym],
    pub doc: &'static str,
}

/// A rule for the elements of a list.
#[derive(Debug, Clone, Copy)]
pub struct Element {
    pub expected: &'static str,
    pub is_one: fn(&str) -> bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Short,
    Int,
    Long,
    Double,
    String,
    List,
    Password,
    /// A Java class, which Millrace cannot load.
    Class,
}

/// Whether a broker option may be changed at run time (IncrementalAlterConfigs). Options of topics, groups and
/// subscriptions always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dynamic {
    ReadOnly,
    /// Dynamic in Kafka; here a restart is needed.
    Restart,
    /// Per broker, and also by the controller: a full replacement that does not mention it keeps it.
    WithController,
    /// Per broker, by the controller only.
    ByController,
    /// For all brokers, which a single broker can override.
    ClusterWide,
    /// For all brokers alike.
    ClusterOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Active,
    /// For a feature that is not implemented yet: checked, kept and shown, but not used.
    Later,
    /// Accepted so that Kafka's files work, but not used.
    AcceptedIgnored,
    /// Unsafe to ignore: any value but the default is refused, for this reason.
    Refused(&'static str),
}

/// A broker option and the factor that turns its value into the topic's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub factor: i64,
}

impl Kind {
    /// The name in DescribeConfigs and on the reference page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Short => "short",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::String => "string",
            Self::List => "list",
            Self::Password => "password",
            Self::Class => "class",
        }
    }

    /// The code in DescribeConfigs.
    pub fn code(self) -> i8 {
        match self {
            Self::Bool => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// Whether it is never shown.
    pub fn is_sensitive(self) -> bool {
        self == Self::Password
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Short => "a 16-bit integer",
            Self::Int => "a 32-bit integer",
            Self::Long => "a 64-bit integer",
            Self::Double => "a number",
            Self::String | Self::List | Self::Password | Self::Class => "text",
        }
    }
}

impl ConfigOption {
    /// Whether no request changes it at run time.
    pub fn is_read_only(&self) -> bool {
        matches!(self.dynamic, Dynamic::ReadOnly | Dynamic::Restart | Dynamic::ByController)
    }

    /// Whether the controller sets it by itself.
    pub fn is_of_controller(&self) -> bool {
        matches!(self.dynamic, Dynamic::WithController | Dynamic::ByController)
    }

    /// Its meaning, its synonyms, and whether it has an effect.
    pub fn documentation(&self) -> String {
        let effect = match self.effect {
            Effect::Active => String::new(),
            Effect::Later => " No effect yet.".to_owned(),
            Effect::AcceptedIgnored => " Accepted, without effect.".to_owned(),
            Effect::Refused(reason) => format!(" Only the default is accepted: {reason}."),
        };
        let synonyms: Vec<String> = self.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
        let from =
            if synonyms.is_empty() { String::new() } else { format!(" Otherwise from {}.", synonyms.join(", ")) };
        format!("{}{from}{effect}", self.doc)
    }

    /// Surrounding blanks are ignored, as in Kafka.
    pub fn parse(&self, raw: &str) -> Result<Value, ConfigError> {
        let raw = raw.trim();
        if let Effect::Refused(reason) = self.effect
            && self.default.unwrap_or_default() != raw
        {
            let (name, raw, reason) = (self.name.to_owned(), raw.to_owned(), reason.to_owned());
            return Err(ConfigError::Refused { name, raw, reason });
        }
        match self.kind {
            Kind::Bool if raw.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Kind::Bool if raw.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Kind::Bool => Err(self.wrong_type(raw)),
            Kind::Short => self.number(raw, raw.parse::<i16>().ok().map(i64::from)),
            Kind::Int => self.number(raw, raw.parse::<i32>().ok().map(i64::from)),
            Kind::Long => self.number(raw, raw.parse().ok()),
            Kind::Double => self.double(raw),
            Kind::String | Kind::Password | Kind::Class => {
                self.choose(raw)?;
                Ok(Value::Text(raw.to_owned()))
            }
            Kind::List => {
                let elements = raw.split(',').map(str::trim).filter(|element| !element.is_empty());
                elements
                    .clone()
                    .try_for_each(|element| self.choose(element).and_then(|()| self.check_element(element)))?;
                Ok(Value::List(elements.map(str::to_owned).collect()))
            }
        }
    }

    fn number(&self, raw: &str, number: Option<i64>) -> Result<Value, ConfigError> {
        let number = number.ok_or_else(|| self.wrong_type(raw))?;
        if number < self.min {
            return Err(ConfigError::TooSmall { name: self.name, raw: raw.to_owned(), min: self.min });
        }
        if self.max < number {
            return Err(ConfigError::TooLarge { name: self.name, raw: raw.to_owned(), max: self.max });
        }
        Ok(Value::Number(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds of doubles are small whole numbers or without effect")]
    fn double(&self, raw: &str) -> Result<Value, ConfigError> {
        let number: f64 =
            raw.parse().ok().filter(|number: &f64| !number.is_nan()).ok_or_else(|| self.wrong_type(raw))?;
        if self.min != i64::MIN && number < self.min as f64 {
            return Err(ConfigError::TooSmall { name: self.name, raw: raw.to_owned(), min: self.min });
        }
        if self.max != i64::MAX && (self.max as f64) < number {
            return Err(ConfigError::TooLarge { name: self.name, raw: raw.to_owned(), max: self.max });
        }
        Ok(Value::Double(number))
    }

    fn choose(&self, word: &str) -> Result<(), ConfigError> {
        if self.choices.is_empty() || self.choices.contains(&word) {
            return Ok(());
        }
        Err(ConfigError::Choice { name: self.name, raw: word.to_owned(), choices: self.choices })
    }

    fn check_element(&self, raw: &str) -> Result<(), ConfigError> {
        match self.element {
            Some(Element { expected, is_one }) if !is_one(raw) => {
                Err(ConfigError::Type { name: self.name, raw: raw.to_owned(), expected })
            }
            _ => Ok(()),
        }
    }

    fn wrong_type(&self, raw: &str) -> ConfigError {
        ConfigError::Type { name: self.name, raw: raw.to_owned(), expected: self.kind.expected() }
    }

    pub(super) const fn min(mut self, min: i64) -> Self {
        self.min = min;
        self
    }

    pub(super) const fn max(mut self, max: i64) -> Self {
        self.max = max;
        self
    }

    pub(super) const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    pub(super) const fn each(mut self, element: Element) -> Self {
        self.element = Some(element);
        self
    }

    pub(super) const fn with_controller(mut self) -> Self {
        self.dynamic = Dynamic::WithController;
        self
    }

    pub(super) const fn by_controller(mut self) -> Self {
        self.dynamic = Dynamic::ByController;
        self
    }

    pub(super) const fn cluster_wide(mut self) -> Self {
        self.dynamic = Dynamic::ClusterWide;
        self
    }

    pub(super) const fn cluster_only(mut self) -> Self {
        self.dynamic = Dynamic::ClusterOnly;
        self
    }

    pub(super) const fn restart(mut self) -> Self {
        self.dynamic = Dynamic::Restart;
        self
    }

    pub(super) const fn later(mut self) -> Self {
        self.effect = Effect::Later;
        self
    }

    pub(super) const fn ignored(mut self) -> Self {
        self.effect = Effect::AcceptedIgnored;
        self
    }

    pub(super) const fn refused(mut self, reason: &'static str) -> Self {
        self.effect = Effect::Refused(reason);
        self
    }

    pub(super) const fn or_from(mut self, synonyms: &'static [Synonym]) -> Self {
        self.synonyms = synonyms;
        self
    }
}

pub(super) const fn bool(name: &'static str, default: &'static str, doc: &'static str) -> ConfigOption {
    row(name, Kind::Bool, Some(default), doc)
}

pub(super) const fn short(name: &'static str, default: &'static str, doc: &'static str) -> ConfigOption {
    row(name, Kind::Short, Some(default), doc)
}

pub(super) const fn int(name: &'static str, default: &'static str, doc: &'static str) -> ConfigOption {
    row(name, Kind::Int, Some(default), doc)
}

pub(super) const fn long(name: &'static str, default: &'static str, doc: &'static str) -> ConfigOption {
    row(name, Kind::Long, Some(default), doc)
}

pub(super) const fn double(name: &'static str, default: &'static str, doc: &'static str) -> ConfigOption {
    row(name, Kind::Double, Some(default), doc)
}

pub(super) const fn string(name: &'static str, default: &'static str, doc: &'static str) -> ConfigOption {
    row(name, Kind::String, Some(default), doc)
}

pub(super) const fn list(name: &'static str, default: &'static str, doc: &'static str) -> ConfigOption {
    row(name, Kind::List, Some(default), doc)
}

/// An option without a default.
pub(super) const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> ConfigOption {
    row(name, kind, None, doc)
}

const fn row(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> ConfigOption {
    ConfigOption {
        name,
        kind,
        default,
        min: i64::MIN,
        max: i64::MAX,
        choices: &[],
        element: None,
        dynamic: Dynamic::ReadOnly,
        effect: Effect::Active,
        synonyms: &[],
        doc,
    }
}
