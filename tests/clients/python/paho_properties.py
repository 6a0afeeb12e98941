"""MQTT 5 properties as paho, and so aiomqtt, writes them."""

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SESSION_EXPIRY = 3600


def of_connect(command):
    """A session that outlives its connection says so."""
    if command["version"] != "5" or not command["persistent"]:
        return None
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY
    return properties


def of_publish(wanted):
    """Those of a message to publish."""
    if wanted is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = wanted["content_type"]
    properties.ResponseTopic = wanted["response_topic"]
    properties.CorrelationData = wanted["correlation_data"].encode()
    properties.UserProperty = [tuple(pair) for pair in wanted["user"]]
    return properties


def of_message(properties):
    """Those of a message that came; None when it has none."""
    if properties is None or properties.isEmpty():
        return None
    return {
        "content_type": getattr(properties, "ContentType", ""),
        "response_topic": getattr(properties, "ResponseTopic", ""),
        "correlation_data": getattr(properties, "CorrelationData", b"").decode(),
        "user": [list(pair) for pair in getattr(properties, "UserProperty", [])],
    }
