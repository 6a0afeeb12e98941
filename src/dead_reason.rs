//! Why a message could not be delivered: the words, and nothing else.

/// Why a copy died; the word of the topic `$dead/{reason}/…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DeadReason {
    /// Its Message Expiry Interval passed before it was sent.
    Expired = 0,
    /// A limit of its queue dropped it.
    QueueFull = 1,
    /// Its session's expiry passed.
    SessionExpired = 2,
    /// A Clean Start threw its session away.
    SessionCleared = 3,
    /// The subscriber refused it.
    Rejected = 4,
    /// Larger than the subscriber's Maximum Packet Size.
    TooLarge = 5,
    /// Sent too often without an acknowledgement.
    DeliveryLimit = 6,
    /// The right to read it was withdrawn.
    Unauthorized = 7,
    /// An administrator emptied its queue.
    Purged = 8,
    /// Shed, as all queues together were over their disk or memory budget.
    StorageFull = 9,
    /// Nobody had a subscription for it.
    NoSubscribers = 10,
}

impl DeadReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Expired,
        Self::QueueFull,
        Self::SessionExpired,
        Self::SessionCleared,
        Self::Rejected,
        Self::TooLarge,
        Self::DeliveryLimit,
        Self::Unauthorized,
        Self::Purged,
        Self::StorageFull,
        Self::NoSubscribers,
    ];

    /// The word in topics, options and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::QueueFull => "queue_full",
            Self::SessionExpired => "session_expired",
            Self::SessionCleared => "session_cleared",
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
            Self::DeliveryLimit => "delivery_limit",
            Self::Unauthorized => "unauthorized",
            Self::Purged => "purged",
            Self::StorageFull => "storage_full",
            Self::NoSubscribers => "no_subscribers",
        }
    }
}
