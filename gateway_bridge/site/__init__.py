"""What the person configured: gateways and the meters behind them."""
