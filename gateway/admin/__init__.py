"""What people and programs see of control: /api/v1, /dashboard, /metrics, /docs."""
