"""Line signals by MQTT: triggers in, results, state and refusals out. Knows one broker."""

from diffad_runtime.line.mqtt.adapter import MqttAdapter
from diffad_runtime.line.mqtt.settings import MqttSettings

__all__ = ["MqttAdapter", "MqttSettings"]
