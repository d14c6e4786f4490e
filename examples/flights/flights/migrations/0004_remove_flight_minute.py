from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("flights", "0003_flight_miles")]

    operations = [
        migrations.RemoveField("flight", "minute"),
    ]
