"""A client of gmqtt."""

import asyncio
import contextlib
import ssl

import gmqtt
import lines
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.storage import PersistentStorage

SESSION_EXPIRY = 3600


class Client:
    def __init__(self, command):
        self.is_v5 = command["version"] == "5"
        self.answers = asyncio.Queue()
        self.leaving = False
        # Holds what is not acknowledged.
        self.pending = PersistentStorage()
        will = command["will"]
        if will:
            payload = lines.payloads(will)[0]
            will = gmqtt.Message(will["topic"], payload, will["qos"], will["retain"])
        expiry = {"session_expiry_interval": SESSION_EXPIRY}
        self.client = client = gmqtt.Client(
            command["id"],
            clean_session=not command["persistent"],
            will_message=will,
            persistent_storage=self.pending,
            **(expiry if self.is_v5 and command["persistent"] else {}),
        )
        client.set_config({"reconnect_retries": 0})
        client.on_connect = lambda _c, flags, _r, _p: self.answers.put_nowait(bool(flags))
        client.on_subscribe = lambda _c, _m, granted, _p: self.answers.put_nowait(granted[0])
        client.on_message = self.came
        client.on_disconnect = self.lost

    async def connect(self, command):
        await self.client.connect(
            command["host"],
            command["port"],
            ssl=lines.tls_context(command) or False,
            version=MQTTv50 if self.is_v5 else MQTTv311,
        )
        lines.say("connected", session_present=await self.answer())

    async def answer(self):
        return await asyncio.wait_for(self.answers.get(), lines.PATIENCE)

    def came(self, _client, topic, payload, qos, properties):
        found = of_message(properties) if self.is_v5 else None
        lines.say_message(topic, qos, properties["retain"], payload, found)
        return 0

    def lost(self, _client, _packet, exc=None):
        if not self.leaving:
            lines.give_up(f"the connection is lost: {exc}")

    async def obey(self, command):
        match command["do"]:
            case "subscribe":
                self.client.subscribe(command["filter"], qos=command["qos"])
                lines.say("subscribed", qos=await self.answer())
            case "publish":
                await self.publish(command)
                lines.say("published")
            case "leave":
                self.leaving = True
                # For asyncio it is an error when the broker still sends, here a PUBREL.
                with contextlib.suppress(ssl.SSLError):
                    await self.client.disconnect()
                lines.say("left")

    async def publish(self, command):
        properties = of_publish(command["properties"])
        topic, qos, retain = command["topic"], command["qos"], command["retain"]
        for payload in lines.payloads(command):
            self.client.publish(topic, payload, qos, retain, **properties)
        await asyncio.wait_for(self.pending.wait_empty(), lines.PATIENCE)


def of_publish(wanted):
    if wanted is None:
        return {}
    return {
        "content_type": wanted["content_type"],
        "response_topic": wanted["response_topic"],
        "correlation_data": wanted["correlation_data"].encode(),
        "user_property": [tuple(pair) for pair in wanted["user"]],
    }


def of_message(properties):
    first = {name: values[0] for name, values in properties.items() if isinstance(values, list)}
    if not first:
        return None
    return {
        "content_type": first.get("content_type", ""),
        "response_topic": first.get("response_topic", ""),
        "correlation_data": first.get("correlation_data", b"").decode(),
        "user": [list(pair) for pair in properties.get("user_property", [])],
    }


async def main():
    command = lines.next_command()
    client = Client(command)
    await client.connect(command)
    while not client.leaving:
        await client.obey(await asyncio.to_thread(lines.next_command))


lines.run(lambda: asyncio.run(main()))
