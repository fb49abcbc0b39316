"""A NautilusTrader node that listens to Ephor, and runs until it is told to stop.

    python node.py REDIS_PORT TRADER_ID
"""

from __future__ import annotations

import sys

from nautilus_trader.common.messages import ShutdownSystem
from nautilus_trader.config import DatabaseConfig, LoggingConfig, MessageBusConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.identifiers import TraderId


def main() -> None:
    port, trader_id = int(sys.argv[1]), sys.argv[2]
    config = TradingNodeConfig(
        trader_id=TraderId(trader_id),
        logging=LoggingConfig(log_level="INFO"),
        message_bus=MessageBusConfig(
            database=DatabaseConfig(type="redis", host="127.0.0.1", port=port),
            encoding="json",
            stream_per_topic=False,
            use_instance_id=False,
            external_streams=["governance"],
            heartbeat_interval_secs=1,
        ),
    )
    node = TradingNode(config=config)
    # Without this the node drops the command in silence.
    node.kernel.msgbus.add_streaming_type(ShutdownSystem)
    node.build()
    print("built", flush=True)
    try:
        node.run()
    finally:
        node.dispose()
    print("ended", flush=True)


if __name__ == "__main__":
    main()
