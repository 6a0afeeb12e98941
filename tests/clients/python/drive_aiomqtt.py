"""A client of aiomqtt."""

import asyncio

import aiomqtt
import lines
import paho_properties as properties

# Publishes that wait for their acknowledgement at once.
WINDOW = 50


def make_client(command):
    is_v5 = command["version"] == "5"
    clean = not command["persistent"]
    will = command["will"]
    if will:
        payload = lines.payloads(will)[0]
        will = aiomqtt.Will(will["topic"], payload, will["qos"], will["retain"])
    return aiomqtt.Client(
        command["host"],
        command["port"],
        identifier=command["id"],
        protocol=aiomqtt.ProtocolVersion.V5 if is_v5 else aiomqtt.ProtocolVersion.V311,
        will=will,
        timeout=lines.PATIENCE,
        tls_context=lines.tls_context(command),
        max_concurrent_outgoing_calls=WINDOW,
        properties=properties.of_connect(command),
        **({"clean_start": clean} if is_v5 else {"clean_session": clean}),
    )


async def read_messages(client):
    async for message in client.messages:
        found = properties.of_message(message.properties)
        topic = message.topic.value
        lines.say_message(topic, message.qos, message.retain, message.payload, found)


async def publish(client, command):
    topic, qos, retain = command["topic"], command["qos"], command["retain"]
    of_publish = properties.of_publish(command["properties"])
    await asyncio.gather(
        *(client.publish(topic, one, qos, retain, of_publish) for one in lines.payloads(command))
    )
    lines.say("published")


async def obey(client):
    while True:
        command = await asyncio.to_thread(lines.next_command)
        match command["do"]:
            case "leave":
                return
            case "subscribe":
                granted = await client.subscribe(command["filter"], command["qos"])
                # Numbers in MQTT 3.1.1, too, in some versions of paho.
                lines.say("subscribed", qos=getattr(granted[0], "value", granted[0]))
            case "publish":
                await publish(client, command)


async def main():
    async with make_client(lines.next_command()) as client:
        lines.say("connected", session_present=None)  # It does not tell.
        reading = asyncio.create_task(read_messages(client))
        obeying = asyncio.create_task(obey(client))
        done, _ = await asyncio.wait({reading, obeying}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        reading.cancel()
    lines.say("left")


lines.run(lambda: asyncio.run(main()))
