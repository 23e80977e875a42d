"""What joins the stages inside the control process: each module is one Protocol's other half. ``app`` wires them."""
