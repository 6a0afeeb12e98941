//! rumqttc, which runs in the test's own process.

use rumqttc::v5::mqttbytes::v5::PublishProperties;

use crate::client::{self, Message, Properties, Publish, Stage, Transport};
use crate::rumqtt::{Client, Options, Version, Will};

pub(crate) struct RumqttcClient(Client);

impl RumqttcClient {
    pub(crate) fn connect(stage: &Stage, options: &client::Options<'_>) -> Self {
        let version = match stage.version {
            client::Version::V311 => Version::V311,
            client::Version::V5 => Version::V5,
        };
        let options = Options {
            tls: stage.transport == Transport::Tls,
            persistent: options.persistent,
            will: options.will.as_ref().map(|will| Will {
                topic: will.topic,
                payload: &will.payloads[0],
                qos: will.qos,
                retain: will.retain,
            }),
            ..Options::new(version, options.id)
        };
        Self(Client::connect(&stage.broker, options).expect("it may connect"))
    }
}

impl client::Client for RumqttcClient {
    fn session_present(&self) -> Option<bool> {
        Some(self.0.session_present)
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.0.subscribe(filter, qos);
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        let Publish { topic, qos, retain, payloads, properties } = publish;
        let properties = properties.as_ref().map(written);
        self.0.publish_all(topic, *qos, *retain, payloads, properties.as_ref());
    }

    fn next_message(&mut self) -> Result<Message, String> {
        let message = self.0.try_message()?;
        Ok(Message {
            topic: message.topic,
            qos: message.qos,
            retain: message.retain,
            payload: message.payload,
            properties: message.properties.map(read),
        })
    }

    fn leave(self: Box<Self>) {
        self.0.leave();
    }
}

fn written(properties: &Properties) -> PublishProperties {
    PublishProperties {
        content_type: Some(properties.content_type.clone()),
        response_topic: Some(properties.response_topic.clone()),
        correlation_data: Some(properties.correlation_data.clone().into()),
        user_properties: properties.user.clone(),
        ..PublishProperties::default()
    }
}

fn read(properties: PublishProperties) -> Properties {
    let correlation_data = properties.correlation_data.unwrap_or_default();
    Properties {
        content_type: properties.content_type.unwrap_or_default(),
        response_topic: properties.response_topic.unwrap_or_default(),
        correlation_data: String::from_utf8_lossy(&correlation_data).into_owned(),
        user: properties.user_properties,
    }
}
