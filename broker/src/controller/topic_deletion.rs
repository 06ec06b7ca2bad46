//! Deletion of topics: from names and ids to records. Pure.

use protocol::metadata_records::MetadataRecord;
use protocol::types::TopicId;

use super::counts::counts;
use crate::metadata::Image;

/// How a request identifies a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicSelector {
    Name(String),
    Id(TopicId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeletedTopic {
    pub(crate) name: String,
    pub(crate) id: TopicId,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeleteTopicError {
    #[error("there is no topic of this name")]
    UnknownName,
    #[error("there is no topic with this id")]
    UnknownId,
    #[error("the topic is in the request more than once")]
    Repeated,
}

pub(crate) type TopicDeletion = (TopicSelector, Result<DeletedTopic, DeleteTopicError>);

/// One answer for each distinct selector. A topic selected twice, also once by name and once by id, is not deleted.
pub(super) fn delete_topics(image: &Image, wanted: &[TopicSelector]) -> (Vec<MetadataRecord>, Vec<TopicDeletion>) {
    let mut times_said = counts(wanted);
    let times_meant = counts(wanted.iter().filter_map(|selector| Some(find(image, selector).ok()?.id)));
    let (mut records, mut answers) = (Vec::new(), Vec::new());
    for selector in wanted {
        let Some(times) = times_said.remove(selector) else { continue };
        let found = find(image, selector);
        let meant = found.as_ref().map_or(times, |topic| times_meant.get(&topic.id).copied().unwrap_or(times));
        let deleted = if 1 < meant { Err(DeleteTopicError::Repeated) } else { found };
        records.extend(deleted.iter().map(|topic| MetadataRecord::RemoveTopic { topic_id: topic.id }));
        answers.push((selector.clone(), deleted));
    }
    (records, answers)
}

fn find(image: &Image, selector: &TopicSelector) -> Result<DeletedTopic, DeleteTopicError> {
    let found = match selector {
        TopicSelector::Name(name) => image.topic(name).ok_or(DeleteTopicError::UnknownName),
        TopicSelector::Id(id) => image.topics.get(id).ok_or(DeleteTopicError::UnknownId),
    };
    found.map(|topic| DeletedTopic { name: topic.name.clone(), id: topic.id })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::DeleteTopicError::{Repeated, UnknownId, UnknownName};
    use super::*;
    use crate::metadata::testing::{add_topic, apply, cluster};

    fn name(name: &str) -> TopicSelector {
        TopicSelector::Name(name.to_owned())
    }

    #[test]
    fn topics_are_deleted_by_name_and_by_id_with_what_belongs_to_them() {
        let mut image = cluster(1);
        let ids = ["a", "b", "kept"].map(|name| add_topic(&mut image, name, &[0]));
        let (records, answers) = delete_topics(&image, &[name("a"), TopicSelector::Id(ids[1])]);
        let expected = [("a", ids[0]), ("b", ids[1])].map(|(name, id)| Ok(DeletedTopic { name: name.to_owned(), id }));
        assert!(answers.into_iter().map(|(_, deleted)| deleted).eq(expected));
        apply(&mut image, &records);
        assert!(image.topics.keys().eq([&ids[2]]) && image.topic_ids.keys().eq(["kept"]));
    }

    #[test]
    fn what_is_unknown_or_meant_twice_is_refused_and_the_rest_deleted() {
        let mut image = cluster(1);
        let [a, b, _, c] = ["a", "b", "twice", "c"].map(|name| add_topic(&mut image, name, &[0]));
        let (id, missing) = (TopicSelector::Id, TopicId(Uuid::from_u128(99)));
        let wanted = [name("a"), name("x"), id(missing), name("twice"), name("b"), id(b), name("twice"), id(c), id(c)];
        let (records, answers) = delete_topics(&image, &wanted);
        assert_eq!(records, [MetadataRecord::RemoveTopic { topic_id: a }]);
        let expected = [
            (name("a"), None),
            (name("x"), Some(UnknownName)),
            (id(missing), Some(UnknownId)),
            (name("twice"), Some(Repeated)),
            (name("b"), Some(Repeated)),
            (id(b), Some(Repeated)),
            (id(c), Some(Repeated)),
        ];
        assert_eq!(answers.into_iter().map(|(s, deleted)| (s, deleted.err())).collect::<Vec<_>>(), expected);
    }
}
