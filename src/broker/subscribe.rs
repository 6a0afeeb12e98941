//! SUBSCRIBE and UNSUBSCRIBE: one answer a packet, one code a filter.

use std::sync::Arc;

use super::Broker;
use super::group::Lower;
use crate::auth::Who;
use crate::config::Limits;
use crate::mqtt::packet::{Subscribe, SubscriptionOptions, Unsubscribe};
use crate::mqtt::reply::{AckList, Reply};
use crate::mqtt::topic::{self, FilterParts};
use crate::mqtt::{ReasonCode, Version};
use crate::router;
use crate::session::Subscription;
use crate::session::violation::Violation;
use crate::time::Timestamp;
use crate::turn::{EndCause, Record, RecordNumber, SessionId, StoreState, Turn};

impl Broker {
    pub(super) fn subscribe(
        &mut self,
        id: SessionId,
        packet: &Subscribe<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<(), Violation> {
        self.check_available(id, packet)?;
        let before = turn.last_record();
        let mut reasons = Vec::with_capacity(packet.filters.len());
        for &(filter, options) in &packet.filters {
            let result = self.subscribe_one(id, filter, options, packet.subscription_id, turn);
            reasons.push(result.unwrap_or_else(|refused| self.tell_refusal(id, refused, options)));
        }
        let last = turn.last_record();
        let until = if last > before { last } else { RecordNumber::default() };
        let list = AckList { packet_id: packet.packet_id, reasons, reason_string: None };
        self.session(id).reply_after(turn, until, Reply::SubAck(list));
        self.gather_named(id, packet, now, turn);
        self.pump(id, now, turn);
        Ok(())
    }

    /// Of the share groups that a SUBSCRIBE names.
    fn gather_named(
        &mut self,
        id: SessionId,
        packet: &Subscribe<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        for (filter, _) in &packet.filters {
            if let Some(group) = self.group_ids.get(*filter).copied()
                && self.sessions[&id].more.groups.contains(group)
            {
                self.gather(id, group, now, turn);
            }
        }
    }

    /// In MQTT 5 a client was told, so that it is a Protocol Error to ask for it all the same.
    fn check_available(&self, id: SessionId, packet: &Subscribe<'_>) -> Result<(), Violation> {
        let limits = &self.settings.limits;
        if self.sessions[&id].version != Version::V5 {
            return Ok(());
        }
        if packet.subscription_id.is_some() && !limits.subscription_identifiers {
            return Err(Violation::SubscriptionIdsNotSupported);
        }
        let mut parsed = packet
            .filters
            .iter()
            .filter_map(|(filter, _)| topic::parse_filter(filter, limits.topic_levels).ok());
        parsed.try_for_each(|parts| check_filter(limits, &parts))
    }

    /// A SUBACK of 3.1 has no code for it: as mosquitto does, it says what was asked for.
    fn tell_refusal(
        &self,
        id: SessionId,
        refused: ReasonCode,
        options: SubscriptionOptions,
    ) -> ReasonCode {
        match self.sessions[&id].version {
            Version::V31 => {
                ReasonCode(options.qos.min_with(self.settings.limits.maximum_qos) as u8)
            }
            Version::V311 | Version::V5 => refused,
        }
    }

    fn subscribe_one(
        &mut self,
        id: SessionId,
        filter: &str,
        mut options: SubscriptionOptions,
        subscription_id: Option<u32>,
        turn: &mut Turn,
    ) -> Result<ReasonCode, ReasonCode> {
        let levels = self.settings.limits.topic_levels;
        let parts =
            topic::parse_filter(filter, levels).map_err(|_| ReasonCode::TOPIC_FILTER_INVALID)?;
        check_filter(&self.settings.limits, &parts).map_err(Violation::reason)?;
        self.may_subscribe(id, &parts, filter)?;
        options.qos = options.qos.min_with(self.settings.limits.maximum_qos);
        let filter: Arc<str> = filter.into();
        let subscription = Subscription { options, id: subscription_id };
        let is_new = if parts.share.is_some() {
            self.join_group(&filter, id, options, subscription_id, turn)
        } else {
            let entry = router::Entry { owner: id, options, subscription_id };
            self.make_room();
            !self.subscriptions.insert(&filter, entry)
        };
        let session = self.session(id);
        session.subscriptions.insert(filter.clone(), subscription);
        session.record(turn, || Record::Subscribed {
            session: id,
            filter: filter.clone(),
            options,
            subscription_id,
        });
        if parts.share.is_none() {
            self.bring_retained(id, filter, options.retain_handling, is_new);
        }
        Ok(ReasonCode(options.qos as u8))
    }

    /// A filter wider than the rights is taken and filtered at delivery, as mosquitto does, unless
    /// `acl_subscribe = "strict"`.
    fn may_subscribe(
        &self,
        id: SessionId,
        parts: &FilterParts<'_>,
        filter: &str,
    ) -> Result<(), ReasonCode> {
        let session = &self.sessions[&id];
        if session.stored && self.store == StoreState::Failing {
            return Err(match session.version {
                Version::V5 => ReasonCode::QUOTA_EXCEEDED,
                Version::V311 | Version::V31 => ReasonCode::UNSPECIFIED_ERROR,
            });
        }
        let is_new = !session.subscriptions.contains_key(filter);
        if is_new && session.subscriptions.len() >= self.settings.limits.subscriptions {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        let who = Who { user: session.user.as_deref(), client_id: &session.client_id };
        let acl = self.acl.as_ref().filter(|_| self.settings.rights.strict_subscribe);
        if acl.is_some_and(|acl| !acl.covers(who, parts.filter)) {
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        id: SessionId,
        packet: &Unsubscribe<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let before = turn.last_record();
        let mut reasons = Vec::with_capacity(packet.filters.len());
        for &filter in &packet.filters {
            reasons.push(self.unsubscribe_one(id, filter, now, turn));
        }
        let last = turn.last_record();
        let until = if last > before { last } else { RecordNumber::default() };
        let list = AckList { packet_id: packet.packet_id, reasons, reason_string: None };
        self.session(id).reply_after(turn, until, Reply::UnsubAck(list));
    }

    fn unsubscribe_one(
        &mut self,
        id: SessionId,
        filter: &str,
        now: Timestamp,
        turn: &mut Turn,
    ) -> ReasonCode {
        if topic::parse_filter(filter, self.settings.limits.topic_levels).is_err() {
            return ReasonCode::TOPIC_FILTER_INVALID;
        }
        let session = self.session(id);
        let Some((filter, _)) = session.subscriptions.remove_entry(filter) else {
            return ReasonCode::NO_SUBSCRIPTION_EXISTED;
        };
        if let Some(more) = session.more.present() {
            more.retained_pending.forget(&filter);
        }
        let (session_id, recorded) = (id, filter.clone());
        session.record(turn, || Record::Unsubscribed { session: session_id, filter: recorded });
        if filter.starts_with("$share/") {
            let group = self.group_ids.get(&filter).copied();
            self.leave_group(&filter, id, EndCause::Cleared, now, turn);
            if let Some(group) = group {
                self.dispatch(group, now, turn);
            }
        } else {
            self.subscriptions.remove(&filter, id);
        }
        ReasonCode::SUCCESS
    }
}

/// Whether subscriptions like this one are available.
fn check_filter(limits: &Limits, parts: &FilterParts<'_>) -> Result<(), Violation> {
    if parts.share.is_some() && !limits.shared_subscriptions {
        return Err(Violation::SharesNotSupported);
    }
    if parts.filter.contains(['+', '#']) && !limits.wildcard_subscriptions {
        return Err(Violation::WildcardsNotSupported);
    }
    Ok(())
}
